package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
	"lofn/internal/provider/fleet"
)

// starter makes instances that do nothing, as the test says.
type starter struct {
	mu        sync.Mutex
	fail      func(fn lofn.Function) error
	delay     time.Duration
	says      string
	starting  int
	most      int
	starts    []time.Time
	instances map[string]*instance
}

func (s *starter) Start(ctx context.Context, fn lofn.Function, id string, progress func(string)) (fleet.Instance, error) {
	s.mu.Lock()
	s.starts = append(s.starts, time.Now())
	s.starting++
	s.most = max(s.most, s.starting)
	fail, delay := s.fail, s.delay
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.starting--
		s.mu.Unlock()
	}()
	if s.says != "" {
		progress(s.says)
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if fail != nil {
		if err := fail(fn); err != nil {
			return nil, err
		}
	}
	i := &instance{done: make(chan struct{}), startup: lofn.Startup{Listen: delay}}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instances == nil {
		s.instances = make(map[string]*instance)
	}
	s.instances[id] = i
	return i, nil
}

func (s *starter) setFail(fail func(lofn.Function) error) {
	s.mu.Lock()
	s.fail = fail
	s.mu.Unlock()
}

func (s *starter) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.starts)
}

// one returns the only instance that was made last.
func (s *starter) one(t *testing.T, f *fleet.Fleet) *instance {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instances[states(f)[0].ID]
}

type instance struct {
	once sync.Once
	done chan struct{}
	err  error
	// startup is what it says of its start.
	startup lofn.Startup
	// linger is how long Stop takes unless it is forced.
	linger time.Duration
	forced bool
}

func (i *instance) Address() (network, address string) { return "unix", "/nowhere" }
func (i *instance) Done() <-chan struct{}              { return i.done }
func (i *instance) Err() error                         { return i.err }
func (i *instance) Startup() lofn.Startup              { return i.startup }

func (i *instance) Stop(ctx context.Context) {
	select {
	case <-time.After(i.linger):
	case <-ctx.Done():
		i.forced = true
	}
	i.end(nil)
}

func (i *instance) end(err error) {
	i.once.Do(func() {
		i.err = err
		close(i.done)
	})
}

func (i *instance) ended() bool {
	select {
	case <-i.done:
		return true
	default:
		return false
	}
}

func wish(name string, generation int64, replicas int) lofn.Function {
	return lofn.Function{
		Ref:        lofn.Ref{Namespace: "ns", Name: name},
		Spec:       lofn.Spec{Image: "any"},
		Generation: generation,
		Replicas:   replicas,
	}
}

// states returns the replicas that exist, once nothing moves any more.
func states(f *fleet.Fleet) []lofn.Replica {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var all []lofn.Replica
	done := make(chan struct{})
	go func() {
		defer close(done)
		for r := range f.Watch(ctx) {
			all = append(all, r)
		}
	}()
	synctest.Wait()
	cancel()
	<-done
	return all
}

func ensure(t *testing.T, f *fleet.Fleet, fn lofn.Function) {
	t.Helper()
	if err := f.Ensure(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func TestFailuresAreRetriedAfterGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{fail: func(lofn.Function) error { return errors.New("no\n  luck") }}
		f := fleet.New(fleet.Config{Starter: s})
		defer f.Close(t.Context())
		ensure(t, f, wish("a", 1, 1))
		if now := states(f); len(now) != 1 || now[0].State != lofn.Failed || now[0].Reason != "no luck" {
			t.Fatalf("replicas: %+v", now)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		var pauses []time.Duration
		for i := 1; i < len(s.starts); i++ {
			pauses = append(pauses, s.starts[i].Sub(s.starts[i-1]))
		}
		want := []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000}
		for i, w := range want {
			if pauses[i] != w*time.Millisecond {
				t.Fatalf("pauses: %v, want %v ms", pauses, want)
			}
		}
		if now := states(f); now[0].Restarts != len(s.starts)-1 {
			t.Errorf("%d starts, replica %+v", len(s.starts), now[0])
		}
	})
}

// firstPause is the pause after the first failure.
const firstPause = 100 * time.Millisecond

func TestPauseStartsAnewAfterRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{}
		f := fleet.New(fleet.Config{Starter: s})
		defer f.Close(t.Context())
		ensure(t, f, wish("a", 1, 1))
		crash := func(after time.Duration) (pause time.Duration) {
			time.Sleep(after)
			s.one(t, f).end(errors.New("crashed"))
			crashed := time.Now()
			for n := s.count(); s.count() == n; {
				time.Sleep(time.Millisecond)
				synctest.Wait()
			}
			return time.Since(crashed)
		}
		for _, step := range []struct{ after, want time.Duration }{
			{0, firstPause},
			{500 * time.Millisecond, 200 * time.Millisecond},
			{time.Second, 400 * time.Millisecond},
			{time.Minute, 100 * time.Millisecond},
			{0, 200 * time.Millisecond},
			{2 * time.Second, 100 * time.Millisecond},
			{time.Second, 100 * time.Millisecond},
			{time.Second, 100 * time.Millisecond},
		} {
			if got := crash(step.after); got != step.want {
				t.Errorf("after %s of service the pause was %s, want %s", step.after, got, step.want)
			}
			if got := states(f)[0].Failures; (got == 1) != (step.want == firstPause) {
				t.Errorf("after %s of service it is failure %d", step.after, got)
			}
		}
	})
}

func TestEndWithoutReasonIsAFailureToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{}
		f := fleet.New(fleet.Config{Starter: s})
		defer f.Close(t.Context())
		ensure(t, f, wish("a", 1, 1))
		s.one(t, f).end(nil)
		synctest.Wait()
		if now := states(f); len(now) != 1 || now[0].State != lofn.Failed || now[0].Reason == "" {
			t.Errorf("replicas: %+v", now)
		}
	})
}

func TestRetryEndsThePauseOfThoseSelected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{fail: func(lofn.Function) error { return errors.New("no") }}
		f := fleet.New(fleet.Config{Starter: s})
		defer f.Close(t.Context())
		ensure(t, f, wish("a", 1, 1))
		ensure(t, f, wish("b", 1, 1))
		time.Sleep(time.Minute + time.Millisecond)
		synctest.Wait()
		s.setFail(nil)
		f.Retry(func(fn lofn.Function) bool { return fn.Name == "a" })
		synctest.Wait()
		for _, r := range states(f) {
			if want := map[string]lofn.State{"a": lofn.Ready, "b": lofn.Failed}[r.Function.Name]; r.State != want {
				t.Errorf("%s is %s, want %s", r.Function, r.State, want)
			}
		}
	})
}

func TestStartsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{delay: time.Second}
		f := fleet.New(fleet.Config{Starter: s, MaxStarts: 3})
		defer f.Close(t.Context())
		for i := range 10 {
			ensure(t, f, wish(fmt.Sprint("f", i), 1, 1))
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if s.most != 3 {
			t.Errorf("%d starts at once, want 3", s.most)
		}
		for _, r := range states(f) {
			if r.State != lofn.Ready {
				t.Errorf("%+v", r)
			}
		}
	})
}

func TestLongStartsLetOthersStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{delay: time.Hour}
		f := fleet.New(fleet.Config{Starter: s, MaxStarts: 1})
		defer f.Close(t.Context())
		ensure(t, f, wish("never", 1, 1))
		s.mu.Lock()
		s.delay = 0
		s.mu.Unlock()
		ensure(t, f, wish("quick", 1, 1))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		for _, r := range states(f) {
			if r.Function.Name == "quick" && r.State != lofn.Ready {
				t.Errorf("%+v", r)
			}
		}
	})
}

func TestUnprovenReplicasOfAnOlderGenerationAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{fail: func(fn lofn.Function) error {
			if fn.Generation > 1 {
				return errors.New("no")
			}
			return nil
		}}
		f := fleet.New(fleet.Config{Starter: s})
		defer f.Close(t.Context())
		ensure(t, f, wish("a", 1, 2))
		ensure(t, f, wish("a", 2, 2))
		ensure(t, f, wish("a", 3, 1))
		count := make(map[int64]int)
		for _, r := range states(f) {
			count[r.Generation]++
		}
		if count[1] != 1 || count[2] != 0 || count[3] != 1 {
			t.Errorf("replicas by generation: %v, want one of the first and one of the third", count)
		}
	})
}

func TestOldReplicaThatCrashesDuringAnUpdateIsRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{}
		f := fleet.New(fleet.Config{Starter: s})
		defer f.Close(t.Context())
		ensure(t, f, wish("a", 1, 1))
		old := s.one(t, f)
		s.setFail(func(fn lofn.Function) error {
			if fn.Generation == 2 {
				return errors.New("no")
			}
			return nil
		})
		ensure(t, f, wish("a", 2, 1))
		old.end(errors.New("crashed"))
		time.Sleep(time.Second)
		synctest.Wait()
		for _, r := range states(f) {
			if r.Generation == 1 && r.State == lofn.Ready {
				return
			}
		}
		t.Errorf("no replica of the old generation is in service: %+v", states(f))
	})
}

func TestCloseForcesWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{}
		f := fleet.New(fleet.Config{
			Starter: s,
			Drain: func(ctx context.Context, _ lofn.Replica) error {
				<-ctx.Done()
				return ctx.Err()
			},
		})
		ensure(t, f, wish("a", 1, 1))
		i := s.one(t, f)
		i.linger = time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if err := f.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		if took := time.Since(began); took != 3*time.Second || !i.forced {
			t.Errorf("Close took %s, forced %v", took, i.forced)
		}
		if now := states(f); len(now) != 0 {
			t.Errorf("replicas after Close: %+v", now)
		}
		if err := f.Close(t.Context()); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

func TestDrainEndsWithTheInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{}
		f := fleet.New(fleet.Config{
			Starter: s,
			Drain: func(ctx context.Context, _ lofn.Replica) error {
				<-ctx.Done()
				return ctx.Err()
			},
		})
		defer f.Close(t.Context())
		ensure(t, f, wish("a", 1, 1))
		i := s.one(t, f)
		if err := f.Remove(t.Context(), wish("a", 1, 1).Ref); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if now := states(f); len(now) != 1 || now[0].State != lofn.Draining {
			t.Fatalf("replicas: %+v", now)
		}
		i.end(errors.New("crashed with calls on it"))
		synctest.Wait()
		if now := states(f); len(now) != 0 {
			t.Errorf("replicas: %+v", now)
		}
	})
}

func TestStartsSayWhatTheyTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{delay: time.Second}
		var mu sync.Mutex
		started := make(map[string]lofn.Replica)
		f := fleet.New(fleet.Config{Starter: s, MaxStarts: 1, Started: func(r lofn.Replica) {
			mu.Lock()
			defer mu.Unlock()
			started[r.Function.Name] = r
		}})
		defer f.Close(t.Context())
		ensure(t, f, wish("first", 1, 1))
		ensure(t, f, wish("second", 1, 1))
		time.Sleep(time.Second)
		synctest.Wait()
		mu.Lock()
		if len(started) != 1 {
			t.Errorf("started when one had its turn: %v", started)
		}
		mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		waited := 0
		mu.Lock()
		for _, r := range states(f) {
			want := lofn.Startup{Listen: time.Second}
			if started[r.Function.Name] != r {
				t.Errorf("Started was told %+v of %+v", started[r.Function.Name], r)
			}
			// Either may have had the first turn.
			if r.Startup.Wait > 0 {
				want.Wait, waited = time.Second, waited+1
			}
			if r.Startup != want {
				t.Errorf("%s: %+v, want %+v", r.Function, r.Startup, want)
			}
		}
		mu.Unlock()
		if waited != 1 {
			t.Errorf("%d replicas waited for their turn, want 1", waited)
		}
		// A replica that starts again has not started yet.
		s.one(t, f).end(errors.New("crashed"))
		time.Sleep(firstPause + time.Millisecond)
		again := 0
		for _, r := range states(f) {
			if r.State == lofn.Starting {
				again++
				if r.Startup != (lofn.Startup{}) {
					t.Errorf("a replica that starts says %+v", r.Startup)
				}
			}
		}
		if again != 1 {
			t.Errorf("%d replicas start again, want 1", again)
		}
	})
}
