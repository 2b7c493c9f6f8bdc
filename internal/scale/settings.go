package scale

import (
	"unique"

	"lofn"
)

// Settings yields how each function wants to be scaled, in no order.
func (s *Scaler) Settings(yield func(lofn.Ref, lofn.Scaling)) {
	type setting struct {
		ref     lofn.Ref
		scaling unique.Handle[lofn.Scaling]
	}
	s.mu.Lock()
	all := make([]setting, 0, len(s.functions))
	for ref, f := range s.functions {
		all = append(all, setting{ref, f.settings})
	}
	s.mu.Unlock()
	for _, one := range all {
		yield(one.ref, one.scaling.Value())
	}
}
