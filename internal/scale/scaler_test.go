package scale_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
	"lofn/internal/scale"
)

// byRPS plans with ten calls a second for each replica.
func byRPS(more ...string) map[string]string {
	labels := map[string]string{lofn.LabelScaleType: "rps", lofn.LabelScaleTarget: "10", lofn.LabelScaleProportion: "1", lofn.LabelScaleMax: "40"}
	for i := 0; i < len(more); i += 2 {
		labels[more[i]] = more[i+1]
	}
	return labels
}

func TestABurstIsMetWithinASecond(t *testing.T) {
	for name, labels := range map[string]map[string]string{
		"rps":      byRPS(),
		"capacity": {lofn.LabelScaleType: "capacity", lofn.LabelScaleTarget: "1", lofn.LabelScaleProportion: "1", lofn.LabelScaleMax: "40"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, labels)
			w.answer = 100 * time.Millisecond
			w.declare(false)
			w.run(time.Minute, steady(5))
			w.want(1)
			began := w.now
			w.run(time.Minute, steady(200))
			if took := w.reached(began, 20); took > 1100*time.Millisecond {
				t.Errorf("20 replicas after %v: %v", took, w.since(began))
			}
			w.want(20)
			for _, c := range w.since(began) {
				if c.to < c.from || c.to > 22 {
					t.Errorf("it went from %d to %d under a load that stayed the same", c.from, c.to)
				}
			}
			ended := w.now
			w.rest(2 * time.Minute)
			w.want(1)
			steps := w.since(ended)
			if len(steps) < 5 {
				t.Errorf("it came down in %d steps: %v", len(steps), steps)
			}
			for _, c := range steps {
				if c.to >= c.from {
					t.Errorf("it went up while nobody called: %v", steps)
				}
			}
			w.allAnswered()
		})
	}
}

func TestARampIsFollowed(t *testing.T) {
	w := newWorld(t, byRPS())
	w.declare(false)
	short := 0
	w.run(10*time.Minute, func(passed time.Duration) float64 {
		rate := 300 * passed.Minutes() / 10
		if float64(len(w.running)*10) < 0.75*rate-10 {
			short++
		}
		return rate
	})
	if len(w.running) < 29 || len(w.running) > 32 {
		t.Errorf("%d replicas at the end, want about 30", len(w.running))
	}
	if short > 0 {
		t.Errorf("for %v there were far too few", time.Duration(short)*tick)
	}
	for _, c := range w.changes {
		if c.to < c.from {
			t.Errorf("it went from %d to %d under a load that grew", c.from, c.to)
		}
	}
	w.allAnswered()
}

// Loads that come and go within the down window, or lie between two counts,
// must not make replicas come and go.
func TestItDoesNotFlap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, rate := range map[string]func(time.Duration) float64{
		"a burst every 10 s":     square(100, time.Second, 10*time.Second),
		"a burst every 20 s":     square(100, time.Second, 20*time.Second),
		"on and off each second": square(60, time.Second, 2*time.Second),
		"at the boundary":        steady(20),
		"noise at the boundary":  func(time.Duration) float64 { return 200 * float64(random.IntN(11)) / 50 },
		"noise below a replica":  func(time.Duration) float64 { return 90 * float64(random.IntN(11)) / 50 },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, byRPS())
			w.declare(false)
			w.run(2*time.Minute, rate)
			settled := w.now
			w.run(10*time.Minute, rate)
			if n := len(w.since(settled)); n > 2 {
				t.Errorf("%d changes in ten minutes: %v", n, w.since(settled))
			}
			w.allAnswered()
		})
	}
}

func TestZeroAndBack(t *testing.T) {
	w := newWorld(t, byRPS(lofn.LabelScaleZero, "true", lofn.LabelScaleZeroDuration, "5m"))
	w.declare(false)
	w.want(1) // a deployment shows that it works
	w.rest(5*time.Minute - time.Second)
	w.want(1)
	w.rest(2 * time.Second)
	w.want(0)
	if next := w.scaler.Step(t.Context()); !next.IsZero() {
		t.Errorf("at zero it is looked at, at %v", next)
	}
	w.rest(24 * time.Hour / 100)
	w.call()
	w.run(tick, steady(0))
	w.want(1)
	w.rest(time.Second)
	if w.done != 1 {
		t.Error("the call that woke it was not answered")
	}

	w.answer = 7 * time.Minute
	w.call()
	w.rest(6 * time.Minute)
	w.want(1) // the call lasts
	w.rest(5 * time.Minute)
	w.want(1) // it ended four minutes ago
	w.rest(2 * time.Minute)
	w.want(0)
	w.allAnswered()
}

func TestAFunctionThatTakesLongToStartIsNotIdleMeanwhile(t *testing.T) {
	w := newWorld(t, byRPS(lofn.LabelScaleZero, "true", lofn.LabelScaleZeroDuration, "5s"))
	w.start = time.Minute
	w.declare(false)
	w.rest(62 * time.Second)
	w.want(1)
	w.rest(4 * time.Second)
	w.want(0)
	w.start = -1
	w.call()
	w.rest(time.Second)
	w.want(1)
	w.scaler.Forget(echo)
}

func TestAHerdIsServedByAsManyAsTheTargetAsks(t *testing.T) {
	for target, most := range map[string]int{"100": 10, "250": 4, "1000": 1} {
		w := newWorld(t, map[string]string{
			lofn.LabelScaleType: "capacity", lofn.LabelScaleTarget: target, lofn.LabelScaleProportion: "1", lofn.LabelScaleMax: "100", lofn.LabelScaleZero: "true",
		})
		w.declare(true)
		w.want(0)
		w.start = 300 * time.Millisecond
		for range 1000 {
			w.call()
		}
		w.rest(time.Second)
		if w.made != most {
			t.Errorf("%d replicas were made for 1000 calls at %s each, want %d", w.made, target, most)
		}
		w.allAnswered()
	}
}

func TestAFunctionThatNeverGetsReadyIsNotMultiplied(t *testing.T) {
	w := newWorld(t, map[string]string{lofn.LabelScaleType: "capacity", lofn.LabelScaleTarget: "1", lofn.LabelScaleMax: "40"})
	w.start = -1
	w.declare(false)
	w.run(time.Minute, steady(5))
	w.want(1)
	if s := w.scaler.Status(echo); !strings.Contains(s.Reason, "none gets ready") {
		t.Errorf("the reason is %q", s.Reason)
	}
	w.tell(w.running[0], lofn.Ready)
	w.rest(time.Second)
	w.allAnswered()
}

func TestClocksThatJump(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": 3 * time.Hour, "backward": -3 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, byRPS(lofn.LabelScaleZero, "true", lofn.LabelScaleZeroDuration, "5m"))
			w.declare(false)
			w.answer = time.Minute
			w.run(2*time.Minute, steady(95))
			w.want(10)
			w.now = w.now.Add(jump)
			for i := range w.events {
				w.events[i].at = w.events[i].at.Add(jump)
			}
			w.run(2*time.Minute, steady(95))
			w.want(10)
			began := w.now
			w.run(10*time.Second, steady(400))
			if took := w.reached(began, 35); took > 2*time.Second {
				t.Errorf("a burst after the jump was met after %v", took)
			}
			w.rest(3 * time.Minute)
			w.want(1)
			w.rest(6 * time.Minute)
			w.want(0)
			w.allAnswered()
		})
	}
}

func TestAlerts(t *testing.T) {
	w := newWorld(t, map[string]string{lofn.LabelScaleMax: "10", lofn.LabelScaleFactor: "30", lofn.LabelScaleZero: "true", lofn.LabelScaleZeroDuration: "10m"})
	w.declare(false)
	alert := func(firing bool, want int) {
		t.Helper()
		if err := w.scaler.Alert(echo, firing); err != nil {
			t.Fatal(err)
		}
		w.rest(time.Second)
		w.want(want)
	}
	alert(true, 4)
	alert(true, 7)
	alert(true, 10)
	alert(true, 10)
	w.rest(time.Minute)
	w.want(10)
	alert(false, 1)
	alert(false, 1)
	alert(true, 4)
	w.rest(11 * time.Minute)
	w.want(0) // nobody calls, whatever the alert says
	alert(true, 3)

	if err := w.scaler.Alert(lofn.ParseHost("nobody"), true); lofn.CodeOf(err) != lofn.NotFound {
		t.Errorf("an alert about nobody: %v", err)
	}
	w.fn.Spec.Labels = map[string]string{lofn.LabelScaleFactor: "0"}
	w.fn.Generation++
	w.declare(false)
	alert(false, 1)
	alert(true, 1)
}

func TestACountThatAPersonSetHolds(t *testing.T) {
	w := newWorld(t, nil)
	w.declare(false)
	w.rest(time.Minute)
	w.fn.Replicas = 5
	w.declare(false)
	w.run(time.Hour/10, steady(1))
	w.want(5)
	w.fn.Replicas = 0
	w.declare(false)
	w.rest(time.Minute)
	w.want(0)
	w.call()
	w.rest(time.Minute)
	w.want(1)
	w.declare(false) // the same count once more
	w.rest(time.Second)
	w.want(0)
	w.allAnswered()
}

func TestACountThatAPersonSetLastsForAWhileWhereLoadDecides(t *testing.T) {
	w := newWorld(t, byRPS())
	w.declare(false)
	w.fn.Replicas = 8
	w.declare(false)
	w.run(25*time.Second, steady(1))
	w.want(8)
	w.run(10*time.Second, steady(1))
	w.want(1)
	w.allAnswered()
}

func TestDeploymentsKeepTheCount(t *testing.T) {
	w := newWorld(t, byRPS(lofn.LabelScaleZero, "true"))
	w.declare(false)
	w.run(time.Minute, steady(45))
	w.want(5)
	w.fn.Generation++
	w.declare(false)
	w.want(5)
	w.fn.Spec.Labels = byRPS(lofn.LabelScaleMax, "3")
	w.fn.Generation++
	w.declare(false)
	w.run(time.Second, steady(45))
	w.want(3)
	w.fn.Spec.Labels = byRPS(lofn.LabelScaleZero, "true")
	w.fn.Generation++
	w.declare(false)
	w.rest(20 * time.Minute)
	w.want(0)
	w.fn.Generation++
	w.declare(false)
	w.want(1) // to show whether the new one works
	w.allAnswered()
}

func TestAfterAStartOfThePlatform(t *testing.T) {
	before := 0
	asWas := func(c *scale.Config) { c.Before = func(lofn.Ref) int { return before } }
	open := &window{}
	warm := func(c *scale.Config) { c.Warm = func(string) (scale.Window, error) { return open, nil } }

	w := newWorld(t, byRPS(lofn.LabelScaleMin, "2"), asWas)
	w.declare(true)
	w.want(2)
	w = newWorld(t, byRPS(lofn.LabelScaleZero, "true"), asWas)
	w.declare(true)
	w.want(0)
	before = 7
	w = newWorld(t, byRPS(lofn.LabelScaleZero, "true"), asWas)
	w.declare(true)
	w.want(7)
	w = newWorld(t, nil, asWas)
	w.fn.Replicas = 9 // of which two were not ready
	w.declare(true)
	w.want(9)
	w = newWorld(t, map[string]string{lofn.LabelScaleMin: "0"}, asWas) // woken by a call
	w.declare(true)
	w.want(7)
	w = newWorld(t, byRPS(lofn.LabelScaleZero, "true", lofn.LabelScaleMin, "3"), warm)
	w.fn.Spec.Annotations = map[string]string{lofn.AnnotationWarm: "x"}
	w.declare(true)
	w.want(0)
	open.open = true
	w = newWorld(t, byRPS(lofn.LabelScaleZero, "true", lofn.LabelScaleMin, "3"), warm)
	w.fn.Spec.Annotations = map[string]string{lofn.AnnotationWarm: "x"}
	w.declare(true)
	w.want(3)
}

// window is open for the first half of each hour, if it is not always.
type window struct {
	open  bool
	asked int
}

func (w *window) At(now time.Time) (open bool, until time.Time) {
	w.asked++
	if w.open {
		return true, now.Add(time.Hour)
	}
	half := now.Truncate(30 * time.Minute)
	return half.Minute() == 30, half.Add(30 * time.Minute)
}

func TestWarmWindows(t *testing.T) {
	hours := &window{}
	w := newWorld(t, byRPS(lofn.LabelScaleZero, "true", lofn.LabelScaleMin, "2", lofn.LabelScaleZeroDuration, "5m"), func(c *scale.Config) {
		c.Warm = func(text string) (scale.Window, error) {
			if text != "30-59 * * * *" {
				return nil, errors.New("not that")
			}
			return hours, nil
		}
	})
	w.fn.Spec.Annotations = map[string]string{lofn.AnnotationWarm: "30-59 * * * *"}
	w.declare(true) // at noon
	w.rest(29 * time.Minute)
	w.want(0)
	w.rest(2 * time.Minute)
	w.want(2)
	w.rest(28 * time.Minute)
	w.want(2)
	w.rest(2 * time.Minute) // one minute after its end
	w.want(0)
	if hours.asked > 10 {
		t.Errorf("the window was asked %d times in an hour", hours.asked)
	}

	w.fn.Spec.Annotations = map[string]string{lofn.AnnotationWarm: "never"}
	if err := w.scaler.Check(w.fn); err == nil || !strings.Contains(err.Error(), "lofn.dev/warm: not that") {
		t.Errorf("got %v", err)
	}
}

// usage is a provider that knows what functions consume, or does not.
type usage struct {
	milliCPU atomic.Uint64
	broken   atomic.Bool
}

func (u *usage) Usage(context.Context, lofn.Ref) (lofn.Usage, error) {
	if u.broken.Load() {
		return lofn.Usage{}, errors.New("no such file")
	}
	return lofn.Usage{MilliCPU: float64(u.milliCPU.Load())}, nil
}

// started returns a scaler that runs in the bubble of a test, and how many
// replicas it wants.
func started(t *testing.T, fn lofn.Function, c scale.Config) (*scale.Scaler, func() int) {
	var wanted atomic.Int64
	c.Pool = idle{}
	c.Scale = func(_ lofn.Ref, _ lofn.Revision, n int) { wanted.Store(int64(n)) }
	s := scale.New(c)
	wanted.Store(int64(s.Declare(fn, 1, false)))
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go s.Run(ctx)
	return s, func() int {
		synctest.Wait()
		return int(wanted.Load())
	}
}

// idle is a pool without calls.
type idle struct{}

func (idle) Sample(lofn.Ref) lofn.Load { return lofn.Load{Ready: 1} }

func TestCPU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var u usage
		fn := lofn.Function{Ref: echo, Replicas: 1, Spec: lofn.Spec{Labels: map[string]string{
			lofn.LabelScaleType: "cpu", lofn.LabelScaleTarget: "500", lofn.LabelScaleProportion: "1",
		}}}
		s, wanted := started(t, fn, scale.Config{Usage: &u})
		u.milliCPU.Store(2400)
		time.Sleep(40 * time.Second)
		if n := wanted(); n != 5 {
			t.Errorf("%d replicas for 2.4 cores, want 5", n)
		}
		u.broken.Store(true)
		u.milliCPU.Store(0)
		time.Sleep(10 * time.Minute)
		if n, status := wanted(), s.Status(echo); n != 5 || !strings.Contains(status.Problem, "no such file") {
			t.Errorf("%d replicas while the load is not known, want 5 as before: %+v", n, status)
		}
		u.broken.Store(false)
		time.Sleep(2 * time.Minute)
		if n, status := wanted(), s.Status(echo); n != 1 || status.Problem != "" {
			t.Errorf("%d replicas without load, want 1: %+v", n, status)
		}
	})
}

func TestQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var value, asked atomic.Int64
		var expression atomic.Value
		value.Store(-1)
		query := func(_ context.Context, e string) (float64, bool, error) {
			asked.Add(1)
			expression.Store(e)
			switch v := value.Load(); v {
			case -1:
				return 0, false, errors.New("connection refused")
			case -2:
				return 0, false, nil
			default:
				return float64(v), true, nil
			}
		}
		fn := lofn.Function{Ref: echo, Replicas: 2, Spec: lofn.Spec{Labels: map[string]string{
			lofn.LabelScaleType: "latency", lofn.LabelScaleTarget: "10", lofn.LabelScaleProportion: "1", lofn.LabelScaleMin: "2",
		}}}
		var events []string
		s, wanted := started(t, fn, scale.Config{Query: query, Event: func(ref lofn.Ref, text string) { events = append(events, ref.Name+": "+text) }})
		time.Sleep(time.Minute)
		if n, status := wanted(), s.Status(echo); n != 2 || !strings.Contains(status.Problem, "connection refused") {
			t.Errorf("%d replicas, want 2: %+v", n, status)
		}
		if e := expression.Load(); e != `sum(job:function_current_load:sum{function_name="echo.openfaas-fn",scaling_type="latency"})` {
			t.Errorf("asked for %s", e)
		}
		value.Store(75)
		time.Sleep(time.Minute)
		if n := wanted(); n != 8 {
			t.Errorf("%d replicas for a load of 75, want 8", n)
		}
		value.Store(-2)
		time.Sleep(time.Hour)
		if n, status := wanted(), s.Status(echo); n != 8 || !strings.Contains(status.Problem, "no series") {
			t.Errorf("%d replicas while there is no series, want 8: %+v", n, status)
		}
		if len(events) != 3 || !strings.Contains(events[0], "echo: its load is not known, so its replicas stay as they are: connection refused") ||
			events[1] != "echo: its load is known again" || !strings.Contains(events[2], "no series") {
			t.Errorf("events: %q", events)
		}
		if n := asked.Load(); n < 500 || n > 1000 {
			t.Errorf("it was asked %d times in an hour", n)
		}
	})
}

func TestWhatCannotBeMeasuredIsSaidAtOnce(t *testing.T) {
	s := scale.New(scale.Config{Pool: idle{}})
	fn := lofn.Function{Ref: echo, Replicas: 3, Spec: lofn.Spec{Labels: map[string]string{lofn.LabelScaleType: "latency"}}}
	if err := s.Check(fn); lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), "--prometheus-url") {
		t.Errorf("got %v", err)
	}
	// It may have been stored when there was a Prometheus.
	if n := s.Declare(fn, 1, true); n != 3 {
		t.Errorf("%d replicas, want 3", n)
	}
	if status := s.Status(echo); !strings.Contains(status.Problem, "--prometheus-url") {
		t.Errorf("got %+v", status)
	}
	fn.Spec.Labels[lofn.LabelScaleType] = "cpu"
	if err := s.Check(fn); err == nil || !strings.Contains(err.Error(), "cannot tell what functions consume") {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsAtRestCostsNothing(t *testing.T) {
	s := scale.New(scale.Config{Pool: idle{}, Scale: func(lofn.Ref, lofn.Revision, int) { t.Error("scaled without need") }})
	labels := []map[string]string{nil, byRPS(), {lofn.LabelScaleType: "capacity", lofn.LabelScaleZero: "true"}}
	for i := range 3000 {
		fn := lofn.Function{Ref: lofn.Ref{Namespace: "n", Name: string(rune('a' + i))}, Replicas: 1, Spec: lofn.Spec{Labels: labels[i%3]}}
		s.Declare(fn, 1, i%3 == 2)
	}
	if next := s.Step(t.Context()); !next.IsZero() {
		t.Errorf("something is due in %v", time.Until(next))
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t, byRPS())
	w.declare(false)
	w.run(time.Minute, steady(33))
	s := w.scaler.Status(echo)
	if s.Type != "rps" || math.Abs(s.Load-33) > 1 || s.PerReplica != 10 || s.Min != 1 || s.Max != 40 || s.Replicas != 4 || s.Problem != "" {
		t.Errorf("got %+v", s)
	}
	if i := slices.IndexFunc(w.changes, func(c change) bool { return c.to == 4 }); i < 0 || !s.Since.Equal(w.changes[i].at) {
		t.Errorf("since %v, changes %v", s.Since, w.changes)
	}
	if w.scaler.Status(lofn.ParseHost("nobody")) != nil {
		t.Error("somebody unknown has a status")
	}
	w.scaler.Forget(echo)
	if w.scaler.Status(echo) != nil {
		t.Error("what was forgotten has a status")
	}
	w.scaler.Poke(echo)
	w.scaler.Step(t.Context())
}
