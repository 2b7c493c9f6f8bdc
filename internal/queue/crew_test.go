package queue_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
	"lofn/internal/queue"
)

// gauge counts the calls that are under way, of each function.
type gauge struct {
	mu        sync.Mutex
	now, most map[string]int
	ended     map[string]int
	all, peak int
}

func newGauge() *gauge {
	return &gauge{now: map[string]int{}, most: map[string]int{}, ended: map[string]int{}}
}

func functionOf(r *http.Request) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/function/"), ".")
	return name
}

func (g *gauge) handler(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := functionOf(r)
		g.add(name, 1)
		defer g.add(name, -1)
		h(w, r)
	})
}

func (g *gauge) add(name string, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now[name] += n
	g.all += n
	g.most[name] = max(g.most[name], g.now[name])
	g.peak = max(g.peak, g.all)
	if n < 0 {
		g.ended[name]++
	}
}

func (g *gauge) count(of map[string]int, name string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return of[name]
}

func named(name string) lofn.Ref { return lofn.Ref{Namespace: lofn.DefaultNamespace, Name: name} }

// hang waits until the caller gives up.
func hang(w http.ResponseWriter, r *http.Request) {
	<-r.Context().Done()
	w.WriteHeader(499)
}

func after(d time.Duration, code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			w.WriteHeader(code)
		case <-r.Context().Done():
			w.WriteHeader(499)
		}
	}
}

// outcomes submits so many calls, and waits until all are over.
func (b *rig) outcomes(n int) {
	b.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = b.submit(lofn.Call{}, "")
	}
	for _, id := range ids {
		if s := b.outcome(id); s.State != lofn.CallSucceeded {
			b.Fatalf("a call is %+v", s)
		}
	}
}

func TestFunctionsGetWhatTheirReplicasTake(t *testing.T) {
	tests := []struct {
		name            string
		replicas, limit int
		backlog, want   int
	}{
		{"a limit", 3, 4, 100, 12},
		{"one at a time", 1, 1, 20, 1},
		{"no limit", 2, 0, 2000, 100},
		{"no replica", 0, 0, 100, 8},
		{"no replica, and a limit", 0, 2, 100, 2},
		{"a small backlog", 3, 4, 5, 5},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGauge()
				b := start(t, queue.Config{Gateway: g.handler(after(time.Second, 200))})
				b.declare(echo, test.replicas, lofn.Spec{Env: map[string]string{lofn.EnvMaxInflight: fmt.Sprint(test.limit)}})
				b.outcomes(test.backlog)
				if got := g.count(g.most, "echo"); got != test.want {
					t.Errorf("it got up to %d calls at a time, want %d", got, test.want)
				}
			})
		})
	}
}

func TestCallersWhoWaitAreNotCrowdedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGauge()
		var b *rig
		b = start(t, queue.Config{Gateway: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			lease, err := b.pool.Lease(r.Context(), echo)
			if err != nil {
				w.WriteHeader(503)
				return
			}
			defer lease.Release()
			g.handler(after(time.Second, 200)).ServeHTTP(w, r)
		})})
		b.declare(echo, 2, lofn.Spec{Env: map[string]string{lofn.EnvMaxInflight: "5"}})
		for range 7 {
			lease, err := b.pool.Lease(t.Context(), echo)
			if err != nil {
				t.Fatal(err)
			}
			defer lease.Release()
		}
		b.outcomes(30)
		if got := g.count(g.most, "echo"); got != 3 {
			t.Errorf("beside 7 calls, of 10 that it takes, it got %d, want 3", got)
		}
		for range 8 {
			b.pool.Ask(echo, func(lofn.Lease, error) {}) // 3 are served, 5 wait
		}
		for range 30 {
			b.submit(lofn.Call{}, "")
		}
		time.Sleep(time.Second)
		if _, waiting := b.pool.Load(echo); waiting != 6 {
			t.Errorf("beside 5 calls that wait there are %d in the line, want 1", waiting-5)
		}
	})
}

func TestReplicasThatComeLaterAreUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGauge()
		b := start(t, queue.Config{Gateway: g.handler(after(time.Hour, 200))})
		spec := lofn.Spec{Env: map[string]string{lofn.EnvMaxInflight: "1"}}
		b.declare(echo, 1, spec)
		for range 10 {
			b.submit(lofn.Call{}, "")
		}
		time.Sleep(time.Minute)
		b.declare(echo, 4, spec)
		time.Sleep(time.Second)
		if got := g.count(g.now, "echo"); got != 4 {
			t.Errorf("of 4 replicas %d have a call", got)
		}
	})
}

// TestFewerCallsForAFunctionThatRefuses has a function take 10 calls at a time,
// which it says to nobody.
func TestFewerCallsForAFunctionThatRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGauge()
		var refused atomic.Int64
		b := start(t, queue.Config{Gateway: g.handler(func(w http.ResponseWriter, r *http.Request) {
			if g.count(g.now, "echo") > 10 {
				refused.Add(1)
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(429)
				return
			}
			after(100*time.Millisecond, 200)(w, r)
		})})
		b.declare(echo, 1, annotated(lofn.AnnotationRetryMinWait, "0"))
		began := time.Now()
		b.outcomes(1000)
		// At 10 at a time it takes 10 s.
		if took := time.Since(began); took > 16*time.Second {
			t.Errorf("it took %v", took)
		}
		if n := refused.Load(); n > 150 {
			t.Errorf("%d of 1000 calls were refused at first", n)
		}
	})
}

func TestAFunctionThatRefusesAllIsAskedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		var open atomic.Bool
		b := start(t, queue.Config{Gateway: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if open.Load() {
				return
			}
			asked.Add(1)
			w.WriteHeader(429)
		})})
		b.declare(echo, 1, lofn.Spec{})
		var ids []string
		for range 5000 {
			ids = append(ids, b.submit(lofn.Call{}, ""))
		}
		time.Sleep(10 * time.Minute)
		if n := asked.Load(); n < 60 || n > 200 {
			t.Errorf("it was asked %d times in ten minutes", n)
		}
		open.Store(true)
		began := time.Now()
		for _, id := range ids {
			b.outcome(id)
		}
		if took := time.Since(began); took > 5*time.Minute {
			t.Errorf("then it took %v", took)
		}
	})
}

// TestOneCallThatIsRefusedHoldsUpNoOther has a function that refuses a single
// call whenever it comes.
func TestOneCallThatIsRefusedHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, queue.Config{Gateway: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/refused") {
				w.WriteHeader(429)
			}
		})})
		b.declare(echo, 1, lofn.Spec{})
		b.submit(lofn.Call{Method: "POST", Path: "/refused"}, "")
		for range 30 {
			time.Sleep(5 * time.Minute) // by then it has been refused for long
			began := time.Now()
			b.outcome(b.submit(lofn.Call{}, ""))
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("another call waited for %v", took)
			}
		}
	})
}
