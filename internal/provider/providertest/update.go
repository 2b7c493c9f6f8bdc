package providertest

import (
	"context"
	"fmt"
	"sync"

	"lofn"
)

// hammer calls the function from several goroutines until it is told to stop.
// Each call must be answered with one of the texts.
func (s *suite) hammer(ref lofn.Ref, texts ...string) (stop func()) {
	ctx, cancel := context.WithCancel(s.Context())
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for ctx.Err() == nil {
				if err := s.callOnce(ctx, ref, texts); err != nil && ctx.Err() == nil {
					s.Error(err)
					return
				}
			}
		})
	}
	return func() {
		cancel()
		callers.Wait()
	}
}

func (s *suite) callOnce(ctx context.Context, ref lofn.Ref, texts []string) error {
	// As in the pool, a call waits while there is no replica: that a replica
	// drains may be known a moment before its successor's being ready.
	waiting, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	var r lofn.Replica
	var release func()
	if !s.wait(waiting, func() (ok bool) { r, release, ok = s.lease(ref); return ok }) {
		return fmt.Errorf("%s has no ready replica:\n%s", ref, s.observer)
	}
	defer release()
	answer, err := call(ctx, r)
	if err != nil {
		return fmt.Errorf("call of %s: %w", r.ID, err)
	}
	for _, text := range texts {
		if answer == text {
			return nil
		}
	}
	return fmt.Errorf("%s answered %q", r.ID, answer)
}

func update(s *suite) {
	target := ref("updated")
	s.ensure(s.function("updated", "generation 1", 1, 2))
	before := s.settled(target, 1, 2)
	stop := s.hammer(target, "generation 1", "generation 2", "generation 3")
	s.ensure(s.function("updated", "generation 2", 2, 2))
	s.settled(target, 2, 2)
	// A third generation arrives while the second may be still on its way in.
	s.ensure(s.function("updated", "generation 3", 3, 3))
	after := s.settled(target, 3, 3)
	stop()
	s.answers("generation 3", after...)
	s.vanished(before...)
}

func updateFailing(s *suite) {
	target := ref("kept")
	s.ensure(s.function("kept", "old", 1, 2))
	before := s.settled(target, 1, 2)
	stop := s.hammer(target, "old", "new")
	s.ensure(s.broken("kept", 2, 2))
	s.until("the new generation to fail and be tried again", func() bool {
		for _, r := range s.of(target) {
			if r.Generation == 2 && r.Restarts > 0 {
				return true
			}
		}
		return false
	})
	for _, r := range before {
		if s.wasGone(r.ID) {
			s.Errorf("replica %s of the old generation is gone while the new one fails", r.ID)
		}
	}
	s.answers("old", before...)
	s.ensure(s.function("kept", "new", 3, 1))
	after := s.settled(target, 3, 1)
	stop()
	s.answers("new", after...)
	s.vanished(before...)
}

func updateOlder(s *suite) {
	s.ensure(s.function("newest", "two", 2, 1))
	before := s.settled(ref("newest"), 2, 1)
	err := s.provider.Ensure(s.Context(), s.function("newest", "one", 1, 3))
	if lofn.CodeOf(err) != lofn.Conflict || err == nil {
		s.Errorf("Ensure of an older generation: %v, want an error with code Conflict", err)
	}
	s.answers("two", before...)
	if now := s.of(ref("newest")); len(now) != 1 {
		s.Errorf("the refused wish had an effect: %v", now)
	}
}

func updateScaled(s *suite) {
	target := ref("shrunk")
	s.ensure(s.function("shrunk", "old", 1, 3))
	s.settled(target, 1, 3)
	s.ensure(s.broken("shrunk", 2, 3))
	s.ensure(s.broken("shrunk", 2, 1))
	s.until("one old replica in service and one new one tried", func() bool {
		count := make(map[int64]int)
		for _, r := range s.of(target) {
			count[r.Generation]++
		}
		return count[1] == 1 && count[2] == 1
	})
	s.ensure(s.broken("shrunk", 2, 0))
	s.until("no replica", func() bool { return len(s.of(target)) == 0 })
}
