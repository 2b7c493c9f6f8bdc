package fleet_test

import (
	"errors"
	"lofn"
	"lofn/internal/provider/fleet"
	"testing"
	"testing/synctest"
	"time"
)

// survivors are instances that were there before a Fleet was.
type survivors map[lofn.Ref][]fleet.Survivor

func (s survivors) take(ref lofn.Ref) []fleet.Survivor {
	list := s[ref]
	delete(s, ref)
	return list
}

func TestSurvivorsAreAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{}
		first := fleet.New(fleet.Config{Starter: s})
		ensure(t, first, wish("a", 1, 2))
		before := states(first)
		if err := first.Detach(t.Context()); err != nil {
			t.Fatal(err)
		}
		left := survivors{}
		for _, r := range before {
			if s.instances[r.ID].ended() {
				t.Fatalf("%s was ended by Detach", r.ID)
			}
			left[r.Function] = append(left[r.Function], fleet.Survivor{Function: wish("a", 1, 2), ID: r.ID, Instance: s.instances[r.ID]})
		}
		starts := len(s.starts)
		second := fleet.New(fleet.Config{Starter: s, Survivors: left.take})
		defer second.Close(t.Context())
		ensure(t, second, wish("a", 1, 2))
		for _, r := range states(second) {
			if r.State != lofn.Ready || s.instances[r.ID] == nil {
				t.Errorf("%+v is none of those that were there", r)
			}
		}
		if len(s.starts) != starts {
			t.Errorf("%d replicas were started, though as many as wanted were there", len(s.starts)-starts)
		}
		// They are led as any other.
		s.instances[before[0].ID].end(errors.New("crashed"))
		time.Sleep(time.Second)
		synctest.Wait()
		if len(s.starts) != starts+1 {
			t.Errorf("one of those adopted crashed, and %d were started", len(s.starts)-starts)
		}
		ensure(t, second, wish("a", 1, 0))
		if now := states(second); len(now) != 0 {
			t.Errorf("replicas that nobody wants: %+v", now)
		}
	})
}

func TestSurvivorsOfAnOlderGenerationServeUntilTheNewIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{delay: time.Second}
		old := &instance{done: make(chan struct{})}
		left := survivors{wish("a", 1, 1).Ref: {{Function: wish("a", 1, 1), ID: "old", Instance: old}}}
		f := fleet.New(fleet.Config{Starter: s, Survivors: left.take})
		defer f.Close(t.Context())
		ensure(t, f, wish("a", 2, 1))
		if old.ended() {
			t.Error("the old one ended before the new one was ready")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if now := states(f); len(now) != 1 || now[0].Generation != 2 || !old.ended() {
			t.Errorf("replicas: %+v", now)
		}
	})
}

func TestPausedFleetNeitherStartsNorStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{delay: time.Second}
		forgone := make(chan string, 10)
		f := fleet.New(fleet.Config{Starter: s, MaxStarts: 1, Forgo: func(id string) { forgone <- id }})
		defer f.Close(t.Context())
		ensure(t, f, wish("a", 1, 1))
		time.Sleep(time.Second)
		synctest.Wait()
		crashed := s.one(t, f)
		ensure(t, f, wish("b", 1, 2)) // one starts, one has to wait for its turn
		f.Pause()
		f.Pause()
		synctest.Wait()
		if len(forgone) != 1 {
			t.Errorf("%d IDs were forgone, want that of the one that waited", len(forgone))
		}
		starts := len(s.starts)
		crashed.end(errors.New("crashed"))
		ensure(t, f, wish("c", 1, 1))
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(s.starts) != starts {
			t.Errorf("%d starts during the pause", len(s.starts)-starts)
		}
		f.Resume()
		f.Resume()
		time.Sleep(time.Minute)
		synctest.Wait()
		ready := map[string]int{}
		for _, r := range states(f) {
			if r.State == lofn.Ready {
				ready[r.Function.Name]++
			}
		}
		if ready["a"] != 1 || ready["b"] != 2 || ready["c"] != 1 {
			t.Errorf("ready after the pause: %v", ready)
		}
	})
}

func TestDetachedFleetLeavesNothingHalfDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{}
		f := fleet.New(fleet.Config{Starter: s})
		ensure(t, f, wish("serves", 1, 1))
		serving := s.one(t, f)
		s.setFail(func(lofn.Function) error { return errors.New("no") })
		ensure(t, f, wish("fails", 1, 1))
		s.setFail(nil)
		s.mu.Lock()
		s.delay = time.Hour
		s.mu.Unlock()
		ensure(t, f, wish("starts", 1, 1))
		began := time.Now()
		if err := f.Detach(t.Context()); err != nil {
			t.Fatal(err)
		}
		if time.Since(began) != 0 || serving.ended() || len(s.instances) != 1 {
			t.Errorf("after %s: ended %v, %d instances", time.Since(began), serving.ended(), len(s.instances))
		}
		if err := f.Ensure(t.Context(), wish("late", 1, 1)); lofn.CodeOf(err) != lofn.Unavailable {
			t.Errorf("Ensure after Detach: %v", err)
		}
	})
}

func TestStartsReportProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{delay: time.Second, says: "pulling 1 of 2 MiB"}
		f := fleet.New(fleet.Config{Starter: s})
		defer f.Close(t.Context())
		ensure(t, f, wish("a", 1, 1))
		if now := states(f); len(now) != 1 || now[0].Reason != s.says {
			t.Errorf("replicas: %+v", now)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if now := states(f); len(now) != 1 || now[0].State != lofn.Ready || now[0].Reason != "" {
			t.Errorf("replicas: %+v", now)
		}
	})
}
