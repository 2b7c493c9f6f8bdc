// Package providertest is the specification of lofn.Provider as tests. Every
// provider runs it.
package providertest

import (
	"context"
	"testing"
	"time"

	"lofn"
)

// Harness tells the suite how to make a provider and functions for it. The
// suite runs its tests in parallel, each with a provider of its own.
type Harness struct {
	// Provider returns a provider on which nothing runs, and sees to it that
	// it ends with the test. A provider that stops replicas itself must call
	// drain before it does.
	Provider func(t *testing.T, drain func(context.Context, lofn.Replica) error) lofn.Provider
	// Function returns a function of generation 1 with one replica, each of
	// whose replicas answers any call with status 200 and the text.
	Function func(t *testing.T, ref lofn.Ref, text string) lofn.Function
	// Broken returns a function whose replicas never get ready.
	Broken func(t *testing.T, ref lofn.Ref) lofn.Function
	// Crash makes a ready replica end by itself. Without it the test of
	// restarts is skipped.
	Crash func(t *testing.T, p lofn.Provider, r lofn.Replica)
	// Timeout bounds each wait for a state; 0 means 30 s.
	Timeout time.Duration
	// Many is how many functions are used at once to look for races; 0 means
	// 20.
	Many int
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	if h.Timeout == 0 {
		h.Timeout = 30 * time.Second
	}
	if h.Many == 0 {
		h.Many = 20
	}
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"Ensure/OneReplica", ensureOne},
		{"Ensure/ManyReplicas", ensureMany},
		{"Ensure/NoReplicas", ensureNone},
		{"Ensure/Idempotent", ensureTwice},
		{"Ensure/Namespaces", ensureNamespaces},
		{"Ensure/InvalidName", ensureInvalid},
		{"Scale/UpAndDown", scale},
		{"Scale/ZeroAndBack", scaleZero},
		{"Update/NoCallFails", update},
		{"Update/FailingKeepsOld", updateFailing},
		{"Update/OlderIsConflict", updateOlder},
		{"Update/ScaledWhileFailing", updateScaled},
		{"Remove/Gone", remove},
		{"Remove/Unknown", removeUnknown},
		{"Remove/FinishesCalls", removeDrains},
		{"Remove/WhileStarting", removeStarting},
		{"Remove/ThenOlderGeneration", removeThenEnsure},
		{"Crash/Restarts", crash},
		{"Failed/SaysWhy", failed},
		{"Startup/NoLongerThanItTook", startup},
		{"Watch/ExistingThenChanges", watchExisting},
		{"Watch/TwoWatchers", watchTwo},
		{"Watch/SlowReaderSeesLast", watchSlow},
		{"Watch/EndsWithContext", watchEnds},
		{"Concurrent/ManyFunctions", concurrent},
		{"Concurrent/OneFunction", contended},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(newSuite(t, h))
		})
	}
}

// suite is one test with its provider and an observer that calls it.
type suite struct {
	*testing.T
	Harness
	provider lofn.Provider
	*observer
}

func newSuite(t *testing.T, h Harness) *suite {
	s := &suite{T: t, Harness: h, observer: newObserver()}
	s.provider = h.Provider(t, s.drain)
	s.observer.follow(t, s.provider)
	return s
}

func ref(name string) lofn.Ref {
	return lofn.Ref{Namespace: lofn.DefaultNamespace, Name: name}
}

// function returns a function that answers with the text.
func (s *suite) function(name, text string, generation int64, replicas int) lofn.Function {
	s.Helper()
	fn := s.Function(s.T, ref(name), text)
	fn.Generation, fn.Replicas = generation, replicas
	return fn
}

func (s *suite) broken(name string, generation int64, replicas int) lofn.Function {
	s.Helper()
	fn := s.Broken(s.T, ref(name))
	fn.Generation, fn.Replicas = generation, replicas
	return fn
}

func (s *suite) ensure(fn lofn.Function) {
	s.Helper()
	if err := s.provider.Ensure(s.Context(), fn); err != nil {
		s.Fatalf("Ensure(%s, generation %d, %d replicas): %v", fn.Ref, fn.Generation, fn.Replicas, err)
	}
}

func (s *suite) remove(ref lofn.Ref) {
	s.Helper()
	if err := s.provider.Remove(s.Context(), ref); err != nil {
		s.Fatalf("Remove(%s): %v", ref, err)
	}
}

// until waits for the condition on what was observed.
func (s *suite) until(what string, condition func() bool) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), s.Timeout)
	defer cancel()
	if !s.observer.wait(ctx, condition) {
		s.Fatalf("waited %s for: %s\nobserved:\n%s", s.Timeout, what, s.observer)
	}
}

// settled waits until the function has just n replicas, all ready and of the
// generation, and returns them.
func (s *suite) settled(ref lofn.Ref, generation int64, n int) []lofn.Replica {
	s.Helper()
	var replicas []lofn.Replica
	s.until("all replicas wanted, and no other, ready", func() bool {
		replicas = s.of(ref)
		for _, r := range replicas {
			if r.State != lofn.Ready || r.Generation != generation {
				return false
			}
		}
		return len(replicas) == n
	})
	return replicas
}
