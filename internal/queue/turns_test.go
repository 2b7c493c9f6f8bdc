package queue_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
	"lofn/internal/queue"
)

// TestAThousandFunctionsMakeProgress has one that always fails, and some that
// hang, among many that answer.
func TestAThousandFunctionsMakeProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const functions, backlog = 1000, 20
		g := newGauge()
		b := start(t, queue.Config{Gateway: g.handler(func(w http.ResponseWriter, r *http.Request) {
			switch name := functionOf(r); {
			case name == "fails":
				w.WriteHeader(500)
			case strings.HasPrefix(name, "hangs"):
				hang(w, r)
			default:
				after(100*time.Millisecond, 200)(w, r)
			}
		})})
		for i := range 10 {
			ref := named(fmt.Sprint("hangs", i))
			b.declare(ref, 4, lofn.Spec{})
			for range 1000 {
				b.submit(lofn.Call{Function: ref}, "")
			}
		}
		time.Sleep(time.Second)
		b.declare(named("fails"), 1, lofn.Spec{})
		for range 2000 {
			b.submit(lofn.Call{Function: named("fails")}, "")
		}
		last := make(map[string]string)
		began := time.Now()
		for i := range backlog {
			for j := range functions {
				ref := named(fmt.Sprint("f", j))
				if i == 0 {
					b.declare(ref, 1, lofn.Spec{Env: map[string]string{lofn.EnvMaxInflight: "1"}})
				}
				last[ref.Name] = b.submit(lofn.Call{Function: ref}, "")
			}
		}
		time.Sleep(time.Second)
		least, most := backlog, 0
		for j := range functions {
			n := g.count(g.ended, fmt.Sprint("f", j))
			least, most = min(least, n), max(most, n)
		}
		if least < 3 || most > 3*least {
			t.Errorf("after a second the functions had between %d and %d calls", least, most)
		}
		for _, id := range last {
			b.outcome(id)
		}
		// There are 20,000 calls of 100 ms. Those that hang have up to 320 of the
		// 1,000 places.
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("all calls took %v", took)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.peak > queue.DefaultCalls {
			t.Errorf("%d calls were under way at a time", g.peak)
		}
	})
}

// TestPlacesAreLeftForOthers has more slow calls than there are places.
func TestPlacesAreLeftForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGauge()
		b := start(t, queue.Config{Calls: 40, Gateway: g.handler(func(w http.ResponseWriter, r *http.Request) {
			if functionOf(r) == "echo" {
				return
			}
			hang(w, r)
		})})
		spec := lofn.Spec{Env: map[string]string{lofn.EnvMaxInflight: "50"}}
		for i := range 10 {
			b.declare(named(fmt.Sprint("hangs", i)), 1, spec)
			for range 100 {
				b.submit(lofn.Call{Function: named(fmt.Sprint("hangs", i))}, "")
			}
			time.Sleep(time.Second)
		}
		if n := g.count(g.now, "hangs0"); n < 20 {
			t.Errorf("with nobody else there, a function has %d calls, of 40", n)
		}
		b.declare(echo, 1, spec)
		began := time.Now()
		b.outcomes(1000)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("calls between slow ones took %v", took)
		}
	})
}

func TestABusyFunctionMakesRoomForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGauge()
		b := start(t, queue.Config{Calls: 100, Gateway: g.handler(func(w http.ResponseWriter, r *http.Request) {
			after(time.Second+rand.N(time.Second), 200)(w, r)
		})})
		for _, ref := range []lofn.Ref{named("first"), named("second")} {
			b.declare(ref, 1, lofn.Spec{Env: map[string]string{lofn.EnvMaxInflight: "100"}})
			for range 5000 {
				b.submit(lofn.Call{Function: ref}, "")
			}
			time.Sleep(30 * time.Second)
		}
		if first, second := g.count(g.now, "first"), g.count(g.now, "second"); second < first/2 || first < second/2 || first+second < 60 {
			t.Errorf("of 100 places one has %d, and the other %d", first, second)
		}
	})
}
