package mux_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
)

// bothWays runs a test of a change from each runtime to the other.
func bothWays(t *testing.T, test func(r *rig, from, to *runtime)) {
	t.Run("ToContainer", func(t *testing.T) {
		bubble(t, func(r *rig) { test(r, r.process, r.container) })
	})
	t.Run("ToProcess", func(t *testing.T) {
		bubble(t, func(r *rig) { test(r, r.container, r.process) })
	})
}

// counted returns how many replicas a runtime has, and how many are ready.
func counted(r *runtime) (all, ready int) {
	for _, replica := range existing(r) {
		all++
		if replica.State == lofn.Ready {
			ready++
		}
	}
	return all, ready
}

func check(t *testing.T, when string, r *runtime, wantAll, wantReady int) {
	t.Helper()
	if all, ready := counted(r); all != wantAll || ready != wantReady {
		t.Errorf("%s there are %d replicas as %s, %d of them ready; want %d and %d", when, all, r.name, ready, wantAll, wantReady)
	}
}

func TestTheOldRuntimeServesUntilTheNewOneIsReady(t *testing.T) {
	bothWays(t, func(r *rig, from, to *runtime) {
		r.ensure(wish(from.name, 1, 2))
		_, release := to.hold()
		r.ensure(wish(to.name, 2, 2))
		check(r.T, "while the new ones start", from, 2, 2)
		check(r.T, "while they start", to, 2, 0)
		release()
		check(r.T, "after the change", from, 0, 0)
		check(r.T, "after the change", to, 2, 2)
	})
}

func TestAsManyMustBeReadyAsAreWanted(t *testing.T) {
	bothWays(t, func(r *rig, from, to *runtime) {
		r.ensure(wish(from.name, 1, 2))
		admit, _ := to.hold()
		r.ensure(wish(to.name, 2, 3))
		for ready := range 3 {
			check(r.T, "before the last is ready", from, 2, 2)
			check(r.T, "before the last is ready", to, 3, ready)
			admit()
		}
		check(r.T, "in the end", from, 0, 0)
	})
}

func TestAFailingNewRuntimeKeepsTheOld(t *testing.T) {
	bothWays(t, func(r *rig, from, to *runtime) {
		r.ensure(wish(from.name, 1, 2))
		to.setFails(true)
		r.ensure(wish(to.name, 2, 2))
		later(10 * time.Minute)
		check(r.T, "while the new ones fail", from, 2, 2)
		check(r.T, "while they fail", to, 2, 0)
		// The next generation is no better, the one after it is.
		r.ensure(wish(to.name, 3, 2))
		later(10 * time.Minute)
		check(r.T, "while the third generation fails", from, 2, 2)
		to.setFails(false)
		r.ensure(wish(to.name, 4, 2))
		check(r.T, "after the fourth", from, 0, 0)
		check(r.T, "after the fourth", to, 2, 2)
	})
}

func TestAFailingNewRuntimeIsGivenUpForTheOld(t *testing.T) {
	bothWays(t, func(r *rig, from, to *runtime) {
		r.ensure(wish(from.name, 1, 2))
		to.setFails(true)
		r.ensure(wish(to.name, 2, 2))
		_, release := from.hold()
		r.ensure(wish(from.name, 3, 2))
		check(r.T, "while the third generation starts", from, 4, 2)
		release()
		check(r.T, "after the third", from, 2, 2)
		check(r.T, "after the third", to, 0, 0)
		for _, replica := range existing(from) {
			if replica.Generation != 3 {
				r.Errorf("%+v stayed", replica)
			}
		}
	})
}

func TestScalingDuringAChange(t *testing.T) {
	bothWays(t, func(r *rig, from, to *runtime) {
		r.ensure(wish(from.name, 1, 3))
		_, release := to.hold()
		r.ensure(wish(to.name, 2, 3))
		r.ensure(wish(to.name, 2, 1))
		check(r.T, "scaled down", from, 1, 1)
		check(r.T, "scaled down", to, 1, 0)
		r.ensure(wish(to.name, 2, 4))
		check(r.T, "scaled up", from, 1, 1)
		check(r.T, "scaled up", to, 4, 0)
		release()
		check(r.T, "in the end", from, 0, 0)
		check(r.T, "in the end", to, 4, 4)
	})
}

func TestScalingToZeroEndsAChange(t *testing.T) {
	bothWays(t, func(r *rig, from, to *runtime) {
		r.ensure(wish(from.name, 1, 2))
		to.setFails(true)
		r.ensure(wish(to.name, 2, 2))
		r.ensure(wish(to.name, 2, 0))
		check(r.T, "at zero", from, 0, 0)
		check(r.T, "at zero", to, 0, 0)
		to.setFails(false)
		r.ensure(wish(to.name, 2, 1))
		check(r.T, "awake", from, 0, 0)
		check(r.T, "awake", to, 1, 1)
	})
}

// TestAnOldReplicaThatDiesIsStartedAgain: it may be needed for long.
func TestAnOldReplicaThatDiesIsStartedAgain(t *testing.T) {
	bothWays(t, func(r *rig, from, to *runtime) {
		r.ensure(wish(from.name, 1, 2))
		to.setFails(true)
		r.ensure(wish(to.name, 2, 2))
		from.crash(existing(from)[0].ID)
		check(r.T, "when one died", from, 2, 1)
		later(time.Minute)
		check(r.T, "a minute later", from, 2, 2)
	})
}

func TestANewReplicaThatDiedDoesNotCount(t *testing.T) {
	bothWays(t, func(r *rig, from, to *runtime) {
		r.ensure(wish(from.name, 1, 2))
		admit, release := to.hold()
		r.ensure(wish(to.name, 2, 2))
		admit()
		for _, replica := range existing(to) {
			if replica.State == lofn.Ready {
				to.crash(replica.ID)
			}
		}
		later(time.Minute)
		check(r.T, "when the first died", to, 2, 0)
		admit()
		check(r.T, "with one ready", from, 2, 2)
		release()
		check(r.T, "in the end", from, 0, 0)
		check(r.T, "in the end", to, 2, 2)
		to.crash(existing(to)[0].ID)
		later(time.Minute)
		check(r.T, "after the change", to, 2, 2)
		check(r.T, "after the change", from, 0, 0)
	})
}

func TestRemovalDuringAChange(t *testing.T) {
	bothWays(t, func(r *rig, from, to *runtime) {
		r.ensure(wish(from.name, 5, 2))
		to.setFails(true)
		r.ensure(wish(to.name, 6, 2))
		if err := r.Remove(r.Context(), wish("", 0, 0).Ref); err != nil {
			r.Fatal(err)
		}
		synctest.Wait()
		check(r.T, "removed", from, 0, 0)
		check(r.T, "removed", to, 0, 0)
		// What comes after it is another function of the same name.
		r.ensure(wish(from.name, 1, 1))
		check(r.T, "deployed anew", from, 1, 1)
	})
}

func TestAnOlderGenerationIsRefusedWhateverItsRuntime(t *testing.T) {
	bothWays(t, func(r *rig, from, to *runtime) {
		r.ensure(wish(from.name, 1, 1))
		r.ensure(wish(to.name, 2, 1))
		err := r.Ensure(r.Context(), wish(from.name, 1, 3))
		if err == nil || lofn.CodeOf(err) != lofn.Conflict {
			r.Errorf("got %v, want a conflict", err)
		}
		synctest.Wait()
		check(r.T, "after the refusal", from, 0, 0)
		check(r.T, "after the refusal", to, 1, 1)
	})
}

func TestAWishThatIsRefusedChangesNothing(t *testing.T) {
	bothWays(t, func(r *rig, from, to *runtime) {
		r.ensure(wish(from.name, 1, 1))
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		if err := r.Ensure(ctx, wish(to.name, 2, 1)); !errors.Is(err, context.Canceled) {
			r.Errorf("got %v", err)
		}
		fn := wish("hovercraft", 2, 1)
		if err := r.Ensure(r.Context(), fn); lofn.CodeOf(err) != lofn.Unimplemented {
			r.Errorf("of a runtime that nobody knows: %v", err)
		}
		synctest.Wait()
		check(r.T, "after the refusals", from, 1, 1)
		check(r.T, "after the refusals", to, 0, 0)
		r.ensure(wish(from.name, 1, 2))
		check(r.T, "after the next wish", from, 2, 2)
	})
}

// TestARemovalThatFailsIsTriedAgain: nobody else would.
func TestARemovalThatFailsIsTriedAgain(t *testing.T) {
	bothWays(t, func(r *rig, from, to *runtime) {
		r.ensure(wish(from.name, 1, 2))
		_, release := to.hold()
		r.ensure(wish(to.name, 2, 2))
		from.setRemoveErr(errors.New("not now"))
		release()
		tried := from.removals()
		later(time.Minute)
		if n := from.removals() - tried; n < 10 || n > 60 {
			r.Errorf("within a minute it was tried %d times", n)
		}
		check(r.T, "while it fails", from, 2, 2)
		from.setRemoveErr(nil)
		later(time.Minute)
		check(r.T, "in the end", from, 0, 0)
		check(r.T, "in the end", to, 2, 2)
	})
}

func TestOldRecordsAreOfProcesses(t *testing.T) {
	bubble(t, func(r *rig) {
		r.ensure(wish("", 1, 2))
		check(r.T, "as it was stored", r.process, 2, 2)
		r.ensure(wish(lofn.RuntimeProcess, 1, 2))
		check(r.T, "deployed again", r.process, 2, 2)
		check(r.T, "deployed again", r.container, 0, 0)
	})
}

// TestManyChangesAtOnce has wishes of both runtimes race; the last generation
// is what is left.
func TestManyChangesAtOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		const functions, generations = 20, 6
		names := []string{lofn.RuntimeProcess, lofn.RuntimeContainer}
		var work sync.WaitGroup
		for i := range functions {
			for g := range generations {
				work.Go(func() {
					fn := wish(names[(i+g)%2], int64(g+1), 1+i%3)
					fn.Name = fmt.Sprintf("fn-%d", i)
					if err := r.Ensure(r.Context(), fn); err != nil && lofn.CodeOf(err) != lofn.Conflict {
						r.Error(err)
					}
				})
			}
		}
		work.Wait()
		synctest.Wait()
		var got []string
		for _, replica := range existing(r.Provider) {
			got = append(got, fmt.Sprintf("%s %d %s", replica.Function.Name, replica.Generation, replica.State))
		}
		var want []string
		for i := range functions {
			for range 1 + i%3 {
				want = append(want, fmt.Sprintf("fn-%d %d %s", i, generations, lofn.Ready))
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			r.Errorf("there are\n%q\nwant\n%q", got, want)
		}
	})
}
