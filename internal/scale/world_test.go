package scale_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"lofn"
	"lofn/internal/pool"
	"lofn/internal/scale"
)

var echo = lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}

// tick is how fine the time of a world is.
const tick = 10 * time.Millisecond

// world is a real pool and a real scaler with a clock of its own, and replicas
// that do nothing but take a while to start and to answer.
type world struct {
	*testing.T
	now    time.Time
	pool   *pool.Pool
	scaler *scale.Scaler
	fn     lofn.Function
	// revision is that of fn.
	revision lofn.Revision
	// start is how long replicas take to get ready; they never do if it is
	// negative, but fail.
	start time.Duration
	// answer is how long a call takes.
	answer time.Duration

	events  []event
	running []string
	made    int
	changes []change
	// calls counts those that came, done those that were answered.
	calls, done int
	// carry is what is left of a call.
	carry float64
}

// event is something that happens at its time.
type event struct {
	at time.Time
	do func()
}

// change is a decision that was carried out.
type change struct {
	at       time.Time
	from, to int
}

func newWorld(t *testing.T, labels map[string]string, edit ...func(*scale.Config)) *world {
	w := &world{T: t, now: noon, start: 20 * time.Millisecond, answer: 50 * time.Millisecond}
	w.fn = lofn.Function{Ref: echo, Replicas: 1, Generation: 1, CreatedAt: noon, Spec: lofn.Spec{Image: "x", Labels: labels}}
	if scaling, err := w.fn.Scaling(); err != nil {
		t.Fatal(err)
	} else {
		w.fn.Replicas = scaling.Min
	}
	clock := func() time.Time { return w.now }
	w.pool = pool.New(pool.Config{Now: clock, Poke: func(ref lofn.Ref) { w.scaler.Poke(ref) }})
	c := scale.Config{Pool: w.pool, Now: clock, Scale: w.scale}
	for _, e := range edit {
		e(&c)
	}
	w.scaler = scale.New(c)
	return w
}

// declare makes the function known as the reconciler does.
func (w *world) declare(first bool) {
	w.revision++
	w.carry = 0
	w.set(w.scaler.Declare(w.fn, w.revision, first))
}

func (w *world) scale(ref lofn.Ref, revision lofn.Revision, n int) {
	if ref != echo || revision != w.revision {
		w.Errorf("decision about %s at revision %d, want %s at %d", ref, revision, echo, w.revision)
	}
	w.changes = append(w.changes, change{w.now, len(w.running), n})
	w.set(n)
}

// set has so many replicas running.
func (w *world) set(n int) {
	fn := w.fn
	fn.Replicas = n
	w.pool.Declare(fn)
	for len(w.running) < n {
		w.made++
		id := fmt.Sprint("r", w.made)
		w.running = append(w.running, id)
		w.tell(id, lofn.Starting)
		if w.start < 0 {
			w.tell(id, lofn.Failed)
			continue
		}
		w.after(w.start, func() {
			if slices.Contains(w.running, id) {
				w.tell(id, lofn.Ready)
			}
		})
	}
	for len(w.running) > n {
		last := len(w.running) - 1
		w.tell(w.running[last], lofn.Gone)
		w.running = w.running[:last]
	}
}

func (w *world) tell(id string, state lofn.State) {
	w.pool.Update(lofn.Replica{Function: echo, ID: id, Generation: w.fn.Generation, State: state})
}

func (w *world) after(d time.Duration, do func()) {
	e := event{w.now.Add(d), do}
	at, _ := slices.BinarySearchFunc(w.events, e, func(a, b event) int { return cmp.Or(a.at.Compare(b.at), -1) })
	w.events = slices.Insert(w.events, at, e)
}

// call makes one call.
func (w *world) call() {
	w.calls++
	w.pool.Ask(echo, func(l lofn.Lease, err error) {
		if err != nil {
			w.Errorf("a call failed: %v", err)
			return
		}
		w.after(w.answer, func() {
			w.done++
			l.Release()
		})
	})
}

// run lets time pass, with so many calls each second.
func (w *world) run(d time.Duration, rate func(passed time.Duration) float64) {
	w.Helper()
	began := w.now
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(tick) {
		for len(w.events) > 0 && !w.events[0].at.After(w.now) {
			do := w.events[0].do
			w.events = w.events[1:]
			do()
		}
		w.carry += rate(w.now.Sub(began)) * tick.Seconds()
		for ; w.carry >= 1; w.carry-- {
			w.call()
		}
		w.scaler.Step(w.Context())
	}
}

// rest lets time pass without calls.
func (w *world) rest(d time.Duration) { w.Helper(); w.run(d, steady(0)) }

func steady(rate float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return rate }
}

// square is so many calls each second for a part of each period, and none else.
func square(rate float64, on, period time.Duration) func(time.Duration) float64 {
	return func(passed time.Duration) float64 {
		if passed%period < on {
			return rate
		}
		return 0
	}
}

// since are the changes from then on.
func (w *world) since(at time.Time) []change {
	i := slices.IndexFunc(w.changes, func(c change) bool { return !c.at.Before(at) })
	if i < 0 {
		return nil
	}
	return w.changes[i:]
}

// reached is how long after began there were at least n replicas.
func (w *world) reached(began time.Time, n int) time.Duration {
	for _, c := range w.since(began) {
		if c.to >= n {
			return c.at.Sub(began)
		}
	}
	return math.MaxInt64
}

func (w *world) want(n int) {
	w.Helper()
	if len(w.running) != n {
		w.Errorf("%d replicas, want %d: %+v", len(w.running), n, w.scaler.Status(echo))
	}
}

func (w *world) allAnswered() {
	w.Helper()
	w.rest(time.Second)
	if w.done != w.calls {
		w.Errorf("%d calls came and %d were answered", w.calls, w.done)
	}
}
