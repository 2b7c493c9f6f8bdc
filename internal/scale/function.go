package scale

import (
	"time"
	"unique"

	"lofn"
)

// function is what the scaler knows of one function. Scaler.mu guards it.
type function struct {
	ref      lofn.Ref
	revision lofn.Revision
	// base, generation and created are those of the function as it was declared.
	base       int
	generation int64
	created    time.Time
	// settings are shared by the functions that say the same.
	settings unique.Handle[lofn.Scaling]
	warm     Window // nil if it has none
	// open says whether the window was open when it was last asked, and until
	// when that holds.
	open  bool
	until time.Time

	// wanted is the last decision, since when it is so, and reason why.
	wanted int
	since  time.Time
	reason string
	// problem is why its load is not known, if it is not.
	problem string
	// asked is the least that alerts ask for.
	asked int

	// started is the pool's count at the last look, busy when there last was a
	// call.
	started      uint64
	looked, busy time.Time
	// poked is when it was called at zero, until that was acted on.
	poked time.Time
	// activity is nil while there is nothing to remember.
	*activity

	// due is when it is looked at next, place where it is in the queue, -1 for
	// nowhere.
	due   time.Time
	place int
}

// activity is what is remembered of a function's load.
type activity struct {
	load float64
	// calls is how many there were at the last look, and stirred when that was
	// last another number, or one came.
	calls   int
	stirred time.Time
	// window is nil as long as the load is zero.
	window *window
	peaks  peaks
	// burst is when the last burst was seen.
	burst time.Time
	// measured is when the last measurement was, and measuring whether there is
	// one now. known says that it came to something.
	measured         time.Time
	measuring, known bool
}

// awaken makes room for an activity.
func (f *function) awaken() {
	if f.activity == nil {
		f.activity = new(activity)
	}
}

func (f *function) scaling() lofn.Scaling { return f.settings.Value() }

const (
	// calm is the time between two looks at a function whose load only fades.
	calm = time.Second
	// burstTime is how long a burst is believed in after it was seen last: the
	// time over which it is averaged, and as long again.
	burstTime = 2 * time.Second
)

// declared returns how many replicas a function that is declared (again) shall
// have: as many as it has, unless a person or a deployment says something new.
func (f *function) declared(fn lofn.Function, revision lofn.Revision, scaling lofn.Scaling, first bool, before int) int {
	switch {
	case first && before > 0 && scaling.Type == "":
		return max(before, fn.Replicas) // one may have failed at the moment
	case first && before > 0:
		return before
	case first && scaling.Zero:
		return 0
	case f.revision == revision:
		return f.wanted
	// It is another function, or a person has just set the count.
	case f.revision == 0, !fn.CreatedAt.Equal(f.created), fn.Replicas != f.base, fn.Generation == f.generation:
		return fn.Replicas
	case f.wanted == 0:
		return fn.Replicas // so that one sees whether the new generation works
	}
	return f.wanted
}

// took notes what the function says about itself.
func (f *function) took(fn lofn.Function, revision lofn.Revision, scaling lofn.Scaling, warm Window) {
	if f.revision == 0 || scaling.Type != f.scaling().Type || scaling.Query != f.scaling().Query {
		f.activity = nil
	}
	if !fn.CreatedAt.Equal(f.created) {
		f.asked = 0
	}
	f.revision, f.base, f.generation, f.created = revision, fn.Replicas, fn.Generation, fn.CreatedAt
	f.settings, f.warm, f.until = unique.Make(scaling), warm, time.Time{}
}

// isWarm asks the window again when what it said last is over.
func (f *function) isWarm(now time.Time) bool {
	if f.warm != nil && !now.Before(f.until) {
		f.open, f.until = f.warm.At(now)
	}
	return f.warm != nil && f.open
}

// observe takes in what the pool counted, and returns all that a decision needs.
func (f *function) observe(now time.Time, counts lofn.Load) Load {
	f.awaken()
	scaling := f.scaling()
	// A function that was deleted and made anew is counted from zero.
	began := counts.Started
	if began >= f.started {
		began -= f.started
	}
	f.started = counts.Started
	l := Load{Load: counts, Wanted: f.wanted, Base: f.base, Asked: f.asked, Called: began > 0 || counts.Waiting > 0}
	// At zero, calls in flight are on replicas that end with them.
	l.Called = l.Called || f.wanted > 0 && (counts.InFlight > 0 || f.calls > 0)
	if l.Called || f.starts(l) {
		f.busy = now
	}
	if began > 0 || counts.Calls() != f.calls {
		f.calls, f.stirred = counts.Calls(), now
	}
	l.Busy = f.busy
	l.Warm = f.isWarm(now)
	switch scaling.Type {
	case lofn.ScaleByRequests:
		f.count(now, float64(began))
		l.Known = true
	case lofn.ScaleByCapacity:
		f.set(now, float64(counts.Calls()))
		l.Known = true
	case lofn.ScaleByQueue:
		f.set(now, float64(counts.Backlog))
		l.Known = true
	default:
		l.Known = f.known
	}
	l.Averages = f.averages(scaling.Type)
	l.Burst = now.Sub(f.burst) < burstTime
	l.Peak = f.peaks.highest(now.Add(-scaling.DownWindow))
	return l
}

// shift moves all times by the same. It leaves the order of the queue as it is.
func (f *function) shift(by time.Duration) {
	f.awaken()
	for _, t := range []*time.Time{&f.since, &f.looked, &f.busy, &f.stirred, &f.poked, &f.burst, &f.measured, &f.due} {
		if !t.IsZero() {
			*t = t.Add(by)
		}
	}
	f.until = time.Time{} // a window is about what the clock says
	f.window.shift(by)
	f.peaks.shift(by)
}

func (f *function) count(now time.Time, n float64) {
	if n > 0 && f.window == nil {
		f.window = new(window)
	}
	if f.window != nil {
		f.window.add(now, n)
	}
}

func (f *function) set(now time.Time, load float64) {
	if load > 0 && f.window == nil {
		f.window = new(window)
	}
	if f.window != nil {
		f.window.set(now, load)
	}
}

func (f *function) averages(t lofn.ScaleType) (a [len(Spans)]float64) {
	if f.window == nil {
		return a
	}
	for i, span := range Spans {
		if t == lofn.ScaleByRequests {
			a[i] = f.window.rate(span.Time)
		} else {
			a[i] = f.window.mean(span.Time)
		}
	}
	return a
}

// starts reports whether a function is about to get ready: before that it is
// not idle.
func (f *function) starts(l Load) bool { return f.wanted > 0 && l.Ready == 0 && !l.Failing }

// decided notes a decision.
func (f *function) decided(now time.Time, d Decision) {
	f.reason, f.load = d.Reason, d.Load
	if d.Burst {
		f.burst = now
	}
	if f.wanted == 0 && d.Replicas > 0 {
		f.busy = now
	}
	if f.scaling().Type != "" && d.Replicas > 0 {
		f.peaks.add(now, d.Advice)
	}
	if d.Replicas == 0 {
		// An alert for a function that nobody calls is stale.
		f.asked, f.window, f.peaks = 0, nil, peaks{}
	}
}

// next is when a decision could differ from the one just taken, zero for when
// the function is called.
func (f *function) next(now time.Time, l Load) (due time.Time) {
	sooner := func(t time.Time) {
		if due.IsZero() || t.Before(due) {
			due = t
		}
	}
	scaling := f.scaling()
	switch {
	// Calls that are there for longer than the shortest span are no news.
	case l.Called && scaling.Type != "" && (l.Waiting > 0 || now.Sub(f.stirred) < Spans[0].Time):
		sooner(now.Add(slot))
	case l.Called:
		sooner(now.Add(calm))
	case l.Averages[len(Spans)-1] > 0, f.wanted > max(scaling.Min, 1) && scaling.Type != "":
		sooner(now.Add(calm))
	case f.pause() == 0:
		f.activity = nil
	}
	if scaling.Zero && f.starts(l) {
		sooner(now.Add(calm))
	}
	if scaling.Zero && f.wanted > 0 && !l.Warm {
		sooner(later(f.busy.Add(scaling.ZeroDuration), now.Add(slot)))
	}
	if f.warm != nil && !f.until.IsZero() {
		sooner(later(f.until, now.Add(slot)))
	}
	if pause := f.pause(); pause > 0 {
		sooner(now.Add(pause))
	}
	return due
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
