package providertest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"lofn"
)

// answers checks that each of the replicas answers with the text.
func (s *suite) answers(text string, replicas ...lofn.Replica) {
	s.Helper()
	for _, r := range replicas {
		got, err := call(s.Context(), r)
		if err != nil || got != text {
			s.Errorf("call of %s at %s: answer %q, error %v, want %q", r.ID, r.Address, got, err, text)
		}
	}
}

// vanished waits until the replicas were reported gone, and checks that
// nothing answers where they were.
func (s *suite) vanished(replicas ...lofn.Replica) {
	s.Helper()
	for _, r := range replicas {
		s.until("replica "+r.ID+" to be gone", func() bool { return s.wasGone(r.ID) })
		// Where there is nobody at all a network may not say so.
		ctx, cancel := context.WithTimeout(s.Context(), 5*time.Second)
		answer, err := call(ctx, r)
		cancel()
		if err == nil {
			s.Errorf("replica %s is gone and answers %q", r.ID, answer)
		}
	}
}

func ensureOne(s *suite) {
	s.ensure(s.function("one", "I am one", 1, 1))
	s.answers("I am one", s.settled(ref("one"), 1, 1)...)
}

func ensureMany(s *suite) {
	s.ensure(s.function("many", "I am many", 1, 4))
	replicas := s.settled(ref("many"), 1, 4)
	s.answers("I am many", replicas...)
	addresses := make(map[string]bool)
	for _, r := range replicas {
		addresses[r.Address] = true
	}
	if len(addresses) != 4 {
		s.Errorf("4 replicas share addresses: %v", replicas)
	}
}

func ensureNone(s *suite) {
	s.ensure(s.function("none", "never", 1, 0))
	s.ensure(s.function("some", "here", 1, 1))
	s.settled(ref("some"), 1, 1)
	if replicas := s.of(ref("none")); len(replicas) != 0 {
		s.Errorf("a function that wants no replica has %v", replicas)
	}
}

func ensureTwice(s *suite) {
	fn := s.function("twice", "same", 1, 2)
	s.ensure(fn)
	before := s.settled(fn.Ref, 1, 2)
	for range 5 {
		s.ensure(fn)
	}
	// The other function passes through the same provider after the repeated
	// wishes, so by then those have had their effect, if any.
	s.ensure(s.function("other", "later", 1, 1))
	s.settled(ref("other"), 1, 1)
	if after := s.settled(fn.Ref, 1, 2); !slices.Equal(ids(before), ids(after)) {
		s.Errorf("ensuring the same again replaced replicas %v by %v", ids(before), ids(after))
	}
}

func ensureNamespaces(s *suite) {
	a, b := lofn.Ref{Namespace: "left", Name: "same"}, lofn.Ref{Namespace: "right", Name: "same"}
	s.ensure(s.Function(s.T, a, "left one"))
	s.ensure(s.Function(s.T, b, "right one"))
	left, right := s.settled(a, 1, 1), s.settled(b, 1, 1)
	s.answers("left one", left...)
	s.answers("right one", right...)
	s.remove(a)
	s.vanished(left...)
	s.answers("right one", right...)
}

func ensureInvalid(s *suite) {
	for _, name := range []string{"", "..", "a/b", "Upper"} {
		fn := s.function("valid", "never", 1, 1)
		fn.Name = name
		if err := s.provider.Ensure(s.Context(), fn); lofn.CodeOf(err) != lofn.Invalid {
			s.Errorf("Ensure of a function named %q: %v, want an error with code Invalid", name, err)
		}
	}
}

func scale(s *suite) {
	fn := s.function("scaled", "any", 1, 1)
	s.ensure(fn)
	first := s.settled(fn.Ref, 1, 1)
	fn.Replicas = 4
	s.ensure(fn)
	four := s.settled(fn.Ref, 1, 4)
	s.answers("any", four...)
	if !slices.Contains(ids(four), first[0].ID) {
		s.Errorf("scaling up replaced %s", first[0].ID)
	}
	fn.Replicas = 2
	s.ensure(fn)
	two := s.settled(fn.Ref, 1, 2)
	s.answers("any", two...)
	s.vanished(slices.DeleteFunc(four, func(r lofn.Replica) bool { return slices.Contains(ids(two), r.ID) })...)
}

func scaleZero(s *suite) {
	fn := s.function("resting", "awake", 1, 2)
	s.ensure(fn)
	before := s.settled(fn.Ref, 1, 2)
	fn.Replicas = 0
	s.ensure(fn)
	s.vanished(before...)
	fn.Replicas = 1
	s.ensure(fn)
	after := s.settled(fn.Ref, 1, 1)
	s.answers("awake", after...)
	if slices.Contains(ids(before), after[0].ID) {
		s.Errorf("a new replica has the ID of an earlier one, %s", after[0].ID)
	}
}

func remove(s *suite) {
	fn := s.function("removed", "any", 1, 3)
	s.ensure(fn)
	replicas := s.settled(fn.Ref, 1, 3)
	s.remove(fn.Ref)
	s.vanished(replicas...)
	s.remove(fn.Ref)
}

func removeUnknown(s *suite) { s.remove(ref("never-was")) }

func removeDrains(s *suite) {
	fn := s.function("busy", "still here", 1, 1)
	s.ensure(fn)
	s.settled(fn.Ref, 1, 1)
	r, release, _ := s.lease(fn.Ref)
	s.remove(fn.Ref)
	s.until("the replica to drain", func() bool {
		now := s.of(fn.Ref)
		return len(now) == 1 && now[0].State == lofn.Draining
	})
	s.answers("still here", r)
	if s.wasGone(r.ID) {
		s.Errorf("replica %s is gone with a call on it", r.ID)
	}
	release()
	s.vanished(r)
}

func removeStarting(s *suite) {
	fn := s.broken("stillborn", 1, 2)
	s.ensure(fn)
	s.until("two replicas to be tried", func() bool { return len(s.of(fn.Ref)) == 2 })
	s.remove(fn.Ref)
	s.until("all replicas to be gone", func() bool { return len(s.of(fn.Ref)) == 0 })
}

func removeThenEnsure(s *suite) {
	fn := s.function("phoenix", "second life", 7, 1)
	s.ensure(fn)
	before := s.settled(fn.Ref, 7, 1)
	s.remove(fn.Ref)
	fn.Generation = 1
	s.ensure(fn)
	s.answers("second life", s.settled(fn.Ref, 1, 1)...)
	s.vanished(before...)
}

func crash(s *suite) {
	if s.Crash == nil {
		s.Skip("the harness cannot make a replica crash")
	}
	fn := s.function("fragile", "whole", 1, 2)
	s.ensure(fn)
	replicas := s.settled(fn.Ref, 1, 2)
	s.Harness.Crash(s.T, s.provider, replicas[0])
	s.until("the crashed replica to be ready again", func() bool {
		for _, r := range s.of(fn.Ref) {
			if r.ID == replicas[0].ID {
				return r.State == lofn.Ready && r.Restarts == 1
			}
		}
		return false
	})
	after := s.settled(fn.Ref, 1, 2)
	s.answers("whole", after...)
	if after[1].Restarts != 0 {
		s.Errorf("the other replica was restarted too: %+v", after[1])
	}
}

func failed(s *suite) {
	fn := s.broken("hopeless", 1, 1)
	s.ensure(fn)
	s.until("the replica to fail", func() bool {
		now := s.of(fn.Ref)
		return len(now) == 1 && now[0].State == lofn.Failed
	})
	s.until("the replica to be tried again", func() bool {
		now := s.of(fn.Ref)
		return len(now) == 1 && now[0].Restarts > 0
	})
}

// startup checks what replicas say of their start; they need not know all.
func startup(s *suite) {
	began := time.Now()
	s.ensure(s.function("timed", "in time", 1, 2))
	for _, r := range s.settled(ref("timed"), 1, 2) {
		if most := time.Since(began); r.Startup.Total() > most {
			s.Errorf("replica %s was ready within %s, and says that it took %+v", r.ID, most, r.Startup)
		}
		for part, took := range r.Startup.Parts() {
			if took < 0 {
				s.Errorf("replica %s says that its part %s took %s", r.ID, part, took)
			}
		}
	}
}

func ids(replicas []lofn.Replica) []string {
	var out []string
	for _, r := range replicas {
		out = append(out, r.ID)
	}
	return out
}

func name(prefix string, i int) string { return fmt.Sprintf("%s-%d", prefix, i) }
