package providertest

import (
	"context"
	"sync"
	"time"

	"lofn"
)

// bounded returns a context that ends with the patience of the suite.
func (s *suite) bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.Context(), s.Timeout)
}

func watchExisting(s *suite) {
	fn := s.function("watched", "any", 1, 2)
	s.ensure(fn)
	existing := s.settled(fn.Ref, 1, 2)
	ctx, cancel := s.bounded()
	defer cancel()
	seen := make(map[string]lofn.State)
	for r := range s.provider.Watch(ctx) {
		if len(seen) < 2 && r.State != lofn.Ready {
			s.Errorf("yielded %+v before the replicas that exist", r)
		}
		seen[r.ID] = r.State
		if len(seen) == 2 && seen[existing[0].ID] == lofn.Ready && seen[existing[1].ID] == lofn.Ready {
			s.remove(fn.Ref)
		}
		if seen[existing[0].ID] == lofn.Gone && seen[existing[1].ID] == lofn.Gone {
			return
		}
	}
	s.Errorf("the watch ended, having yielded %v", seen)
}

func watchTwo(s *suite) {
	ctx, cancel := s.bounded()
	defer cancel()
	var watchers sync.WaitGroup
	for range 2 {
		watchers.Go(func() {
			ready := false
			for r := range s.provider.Watch(ctx) {
				ready = ready || r.State == lofn.Ready
				if r.State == lofn.Gone {
					if !ready {
						s.Error("a prompt watcher did not see the replica ready")
					}
					return
				}
			}
			s.Error("a watcher did not see the replica go")
		})
	}
	fn := s.function("shared", "any", 1, 1)
	s.ensure(fn)
	s.settled(fn.Ref, 1, 1)
	// The other watchers have until the end of this pause to catch up with the
	// suite's own, which has seen the replica ready; later states may replace
	// that one for a slow reader.
	pause, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	<-pause.Done()
	stop()
	s.remove(fn.Ref)
	watchers.Wait()
}

func watchSlow(s *suite) {
	ctx, cancel := s.bounded()
	defer cancel()
	fn := s.function("hasty", "any", 1, 1)
	first := true
	last := make(map[string]lofn.State)
	s.ensure(fn)
	for r := range s.provider.Watch(ctx) {
		last[r.ID] = r.State
		if first {
			first = false
			// The reader sleeps over a whole life of the function.
			s.settled(fn.Ref, 1, 1)
			s.remove(fn.Ref)
			s.until("the replica to be gone", func() bool { return len(s.of(fn.Ref)) == 0 })
			s.ensure(s.function("later", "any", 1, 1))
			s.settled(ref("later"), 1, 1)
		}
		if r.Function == ref("later") && r.State == lofn.Ready {
			break
		}
	}
	for id, state := range last {
		if s.wasGone(id) && state != lofn.Gone {
			s.Errorf("replica %s is gone, the last that a slow reader saw of it is %q", id, state)
		}
	}
}

func watchEnds(s *suite) {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	for range s.provider.Watch(ctx) {
		s.Error("a watch yields after its context ended")
	}
	// Leaving the loop ends a watch too, and the provider goes on.
	fn := s.function("left", "any", 1, 1)
	s.ensure(fn)
	for range s.provider.Watch(s.Context()) {
		break
	}
	s.settled(fn.Ref, 1, 1)
}

func concurrent(s *suite) {
	var work sync.WaitGroup
	for i := range s.Many {
		work.Go(func() {
			fn := s.function(name("crowd", i), name("answer", i), 1, 1+i%2)
			s.try(s.provider.Ensure(s.Context(), fn))
			if i%3 == 0 {
				s.try(s.provider.Remove(s.Context(), fn.Ref))
			}
		})
	}
	work.Wait()
	for i := range s.Many {
		target, text := ref(name("crowd", i)), name("answer", i)
		if i%3 == 0 {
			s.until("a removed function to be gone", func() bool { return len(s.of(target)) == 0 })
			continue
		}
		s.answers(text, s.settled(target, 1, 1+i%2)...)
	}
}

func contended(s *suite) {
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			err := s.provider.Ensure(s.Context(), s.function("contended", name("answer", i), int64(i+1), 1+i%3))
			if err != nil && lofn.CodeOf(err) != lofn.Conflict {
				s.Error(err)
			}
		})
	}
	work.Wait()
	s.answers("answer-7", s.settled(ref("contended"), 8, 2)...)
}

func (s *suite) try(err error) {
	if err != nil {
		s.Error(err)
	}
}
