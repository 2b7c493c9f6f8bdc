package simulate

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"lofn"
)

// replica is one replica, as a provider would have it.
type replica struct {
	function *function
	view     lofn.Replica
	node     *node // nil as long as none has room for it
	calls    int
	stopping bool
	// placed is when it got its place on the node, and readyAt when it got ready,
	// never before that.
	placed, readyAt time.Duration
}

// flapTime is how soon after a function got fewer replicas it counts as a flap
// that it gets more.
const flapTime = time.Minute

// scale carries out a decision, as the reconciler would.
func (s *simulation) scale(ref lofn.Ref, _ lofn.Revision, replicas int) {
	f := s.byRef[ref]
	from := f.wanted
	rises := replicas > from
	f.figures.changes++
	if rises && !f.rose && from > 0 && f.changed != never && s.now-f.changed < flapTime {
		f.figures.flaps++
	}
	f.changed, f.rose = s.now, rises
	s.moved = s.now
	s.want(f, replicas)
	if s.Decided != nil {
		s.Decided(s.now, ref, from, replicas)
	}
}

// want makes the function have so many replicas.
func (s *simulation) want(f *function, replicas int) {
	s.recorder.wanted += replicas - f.wanted
	f.wanted, f.deployed.Replicas = replicas, replicas
	s.pool.Declare(f.deployed)
	staying := make([]*replica, 0, max(len(f.replicas), replicas))
	for _, r := range f.replicas {
		if !r.stopping {
			staying = append(staying, r)
		}
	}
	for range replicas - len(staying) {
		s.add(f)
	}
	if len(staying) <= replicas {
		return
	}
	// As providers do: first those that are of no use yet, then the youngest.
	slices.SortStableFunc(staying, func(a, b *replica) int { return cmp.Compare(a.use(), b.use()) })
	for _, r := range slices.Backward(staying[replicas:]) {
		s.stop(r)
	}
}

// use orders replicas by how far they have come.
func (r *replica) use() int {
	switch {
	case r.readyAt != never:
		return 0
	case r.node != nil:
		return 1
	}
	return 2
}

// add begins a replica.
func (s *simulation) add(f *function) {
	s.started++
	r := &replica{function: f, readyAt: never, view: lofn.Replica{
		Function: f.deployed.Ref, ID: f.deployed.Name + "-" + strconv.FormatUint(s.started, 36),
		Generation: f.deployed.Generation, State: lofn.Starting,
	}}
	f.replicas = append(f.replicas, r)
	s.replicas[r.view.ID] = r
	s.pool.Update(r.view)
	if !s.nodes.place(r) {
		f.figures.delayed++
		return
	}
	s.start(r)
}

// start begins the start of a replica that has its place.
func (s *simulation) start(r *replica) {
	r.placed = s.now
	r.function.figures.starts++
	s.recorder.occupied(1, r.function.need.memory)
	s.events.push(event{at: s.now + s.ColdStart.draw(s.random), replica: r})
}

func (s *simulation) ready(r *replica) {
	if r.readyAt != never {
		return
	}
	r.readyAt, r.view.State = s.now, lofn.Ready
	s.recorder.ready++
	s.pool.Update(r.view)
}

// stop ends a replica, as soon as its calls have ended.
func (s *simulation) stop(r *replica) {
	r.stopping = true
	if r.calls == 0 {
		s.gone(r)
		return
	}
	r.view.State = lofn.Draining
	s.pool.Update(r.view)
}

func (s *simulation) gone(r *replica) {
	f := r.function
	r.view.State = lofn.Gone
	s.pool.Update(r.view)
	delete(s.replicas, r.view.ID)
	f.replicas = slices.DeleteFunc(f.replicas, func(other *replica) bool { return other == r })
	if r.readyAt != never {
		s.recorder.ready--
	}
	if r.node == nil {
		s.nodes.forget(r)
		return
	}
	f.figures.lived += s.now - r.placed
	s.recorder.occupied(-1, -f.need.memory)
	for _, next := range s.nodes.free(r) {
		s.start(next)
	}
}
