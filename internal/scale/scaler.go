package scale

import (
	"container/heap"
	"context"
	"log/slog"
	"sync"
	"time"

	"lofn"
)

// pool knows how busy functions are.
type pool interface {
	// Sample returns the load, and has Poke told of the function's next call.
	Sample(lofn.Ref) lofn.Load
}

// Window is when a function is kept warm.
type Window interface {
	// At reports whether it is open now, and until when that holds.
	At(now time.Time) (open bool, until time.Time)
}

// Config is what a Scaler works with.
type Config struct {
	Pool pool
	// Scale carries a decision out. It is told at which revision of the function
	// it was taken, and ignores it if there is a newer one.
	Scale func(ref lofn.Ref, revision lofn.Revision, replicas int)
	// Usage tells what the replicas of a function consume; nil if nobody can.
	Usage lofn.UsageReporter
	// Backlog is how many asynchronous calls of a function wait or run; nil if
	// there is no queue.
	Backlog func(lofn.Ref) int
	// Query evaluates a PromQL expression; found is false if there is no such
	// series. Nil if there is no Prometheus.
	Query func(ctx context.Context, expression string) (value float64, found bool, err error)
	// Warm reads lofn.AnnotationWarm; nil knows none.
	Warm func(text string) (Window, error)
	// Before is how many replicas a function had in the process before this
	// one; nil if there was none.
	Before func(lofn.Ref) int
	// Event is told when the load of a function cannot be
	// measured any more, and when it can again; nil discards it.
	Event func(ref lofn.Ref, text string)
	// Woken is told how long it took from a call for a function at zero until
	// its count was on its way; nil discards it.
	Woken func(ref lofn.Ref, took time.Duration)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log receives each decision that changes something; nil discards it.
	Log *slog.Logger
}

// Scaler is safe for concurrent use.
type Scaler struct {
	Config
	// news has a value when something may be due sooner than Run thinks.
	news chan struct{}

	mu        sync.Mutex
	functions map[lofn.Ref]*function
	due       queue
	// latest is what the clock said last.
	latest time.Time
	// measuring bounds the measurements under way.
	measuring chan struct{}
}

// New returns a Scaler without functions; Run makes it work.
func New(c Config) *Scaler {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Before == nil {
		c.Before = func(lofn.Ref) int { return 0 }
	}
	if c.Event == nil {
		c.Event = func(lofn.Ref, string) {}
	}
	if c.Woken == nil {
		c.Woken = func(lofn.Ref, time.Duration) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Scaler{
		Config: c, news: make(chan struct{}, 1), functions: make(map[lofn.Ref]*function),
		measuring: make(chan struct{}, maxMeasuring),
	}
}

// Declare makes a function known at a revision, or what is new about it, and
// returns how many replicas it shall have now. first says that it was deployed
// before this process began.
func (s *Scaler) Declare(fn lofn.Function, revision lofn.Revision, first bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	f := s.functions[fn.Ref]
	if f == nil {
		f = &function{ref: fn.Ref, place: -1, busy: now, since: now}
		s.functions[fn.Ref] = f
	}
	scaling, warm, err := s.read(fn)
	f.problem = ""
	if err != nil {
		f.problem = err.Error()
	}
	wanted := f.declared(fn, revision, scaling, first, s.Before(fn.Ref))
	f.took(fn, revision, scaling, warm)
	if first && wanted == 0 && f.isWarm(now) {
		wanted = max(scaling.Min, 1)
	}
	if wanted != f.wanted || f.reason == "" {
		// Calls that came before do not wake what somebody puts to sleep.
		f.started = s.Pool.Sample(fn.Ref).Started
		f.wanted, f.since, f.reason = wanted, now, "as deployed"
	}
	if scaling.Type != "" && wanted > 0 {
		f.awaken()
		f.peaks.add(now, wanted) // or a count that a person set would not last
	}
	s.at(f, now)
	return wanted
}

// read returns what the function says about its scaling. One that was stored
// although it makes no sense is not scaled by load.
func (s *Scaler) read(fn lofn.Function) (lofn.Scaling, Window, error) {
	scaling, err := fn.Scaling()
	if err != nil {
		return lofn.Scaling{Min: 1, Factor: lofn.DefaultScaleFactor}, nil, err
	}
	if err := s.measurable(scaling); err != nil {
		return scaling, nil, err
	}
	if scaling.Warm == "" || s.Warm == nil {
		return scaling, nil, nil
	}
	warm, err := s.Warm(scaling.Warm)
	if err != nil {
		return scaling, nil, lofn.Errorf(lofn.Invalid, "annotations: %s: %w", lofn.AnnotationWarm, err)
	}
	return scaling, warm, nil
}

// measurable reports whether there is who could measure the function's load.
func (s *Scaler) measurable(scaling lofn.Scaling) error {
	switch t := scaling.Type; {
	case t == "":
	case !t.Measured() && s.Query == nil:
		return lofn.Errorf(lofn.Invalid, "labels: %s: %q is not a type that lofn measures itself: use rps, capacity, queue, cpu or memory, or give lofn serve the address of a Prometheus (--prometheus-url) to ask it",
			lofn.LabelScaleType, t)
	case t == lofn.ScaleByQueue && s.Backlog == nil:
		return lofn.Errorf(lofn.Invalid, "labels: %s: there is no queue of asynchronous calls, so %q is not available: use rps or capacity", lofn.LabelScaleType, t)
	case (t == lofn.ScaleByCPU || t == lofn.ScaleByMemory) && s.Usage == nil:
		return lofn.Errorf(lofn.Invalid, "labels: %s: this provider cannot tell what functions consume, so %q is not available: use rps or capacity", lofn.LabelScaleType, t)
	}
	return nil
}

// Check reports why a function could not be scaled as it says, naming the label
// or annotation at fault.
func (s *Scaler) Check(fn lofn.Function) error {
	_, _, err := s.read(fn)
	return err
}

// Forget makes a function unknown.
func (s *Scaler) Forget(ref lofn.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.functions[ref]; f != nil {
		delete(s.functions, ref)
		s.at(f, time.Time{})
	}
}

// Poke has a function looked at soon: it is called. It does not block.
func (s *Scaler) Poke(ref lofn.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.functions[ref]; f != nil {
		s.soon(f, s.Now())
	}
}

// soon has the function looked at as soon as it makes sense.
func (s *Scaler) soon(f *function, now time.Time) {
	due := f.looked.Add(slot)
	if due.Before(now) || f.wanted == 0 {
		due = now
	}
	if f.wanted == 0 && f.poked.IsZero() {
		f.poked = now
	}
	if f.due.IsZero() || due.Before(f.due) {
		s.at(f, due)
	}
}

// Alert takes in that an alert about a function began to fire, or still does,
// or was resolved. Each raises the count by a part of the most, until one says
// that it is resolved. The error has code NotFound for an unknown function.
func (s *Scaler) Alert(ref lofn.Ref, firing bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.functions[ref]
	if f == nil {
		return lofn.Errorf(lofn.NotFound, "function %s is not deployed", ref)
	}
	scaling := f.scaling()
	switch {
	case !firing:
		f.asked = 0
	case scaling.Factor > 0:
		step := (scaling.Most()*scaling.Factor + 99) / 100
		f.asked = min(max(f.asked, f.wanted)+step, scaling.Most())
	}
	s.at(f, s.Now())
	return nil
}

// Status tells what was last decided for a function, nil for an unknown one.
func (s *Scaler) Status(ref lofn.Ref) *lofn.ScalingStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.functions[ref]
	if f == nil {
		return nil
	}
	scaling := f.scaling()
	status := &lofn.ScalingStatus{
		Type: scaling.Type, Min: scaling.Min, Max: scaling.Most(), Replicas: f.wanted, Reason: f.reason, Since: f.since.Round(0), Problem: f.problem,
	}
	if scaling.Type != "" {
		status.PerReplica = scaling.PerReplica()
	}
	if f.activity != nil {
		status.Load = f.load
	}
	return status
}

// Run decides until ctx ends.
func (s *Scaler) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if next := s.Step(ctx); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(next.Sub(s.Now()))
		}
		select {
		case <-s.news:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// Step takes the decisions that are due, and returns when the next one is, zero
// for never. Measurements that take time end with ctx.
func (s *Scaler) Step(ctx context.Context) (next time.Time) {
	for {
		s.mu.Lock()
		now := s.Now()
		s.tell(now)
		if len(s.due) == 0 || s.due[0].due.After(now) {
			if len(s.due) > 0 {
				next = s.due[0].due
			}
			s.mu.Unlock()
			return next
		}
		f := s.due[0]
		changed := s.look(ctx, f, now)
		ref, revision, wanted, poked := f.ref, f.revision, f.wanted, f.poked
		f.poked = time.Time{}
		s.mu.Unlock()
		if changed {
			s.Scale(ref, revision, wanted)
		}
		if changed && !poked.IsZero() {
			s.Woken(ref, s.Now().Sub(poked))
		}
	}
}

// tell takes in what the clock says. When it was put back, all that is
// remembered and planned moves with it.
func (s *Scaler) tell(now time.Time) {
	if by := now.Sub(s.latest); by < 0 {
		for _, f := range s.functions {
			f.shift(by)
		}
	}
	s.latest = now
}

// look decides about a function, and reports whether that changed something.
func (s *Scaler) look(ctx context.Context, f *function, now time.Time) (changed bool) {
	counts := s.Pool.Sample(f.ref)
	if f.scaling().Type == lofn.ScaleByQueue && s.Backlog != nil {
		counts.Backlog = s.Backlog(f.ref)
	}
	load := f.observe(now, counts)
	d := Decide(now, load, f.scaling())
	f.decided(now, d)
	if changed = d.Replicas != f.wanted; changed {
		s.Log.Info("function scaled", "function", f.ref, "from", f.wanted, "to", d.Replicas, "reason", d.Reason)
		f.wanted, f.since = d.Replicas, now
	}
	f.looked = now
	s.at(f, f.next(now, load))
	if f.measures(now) {
		s.measure(ctx, f, now)
	}
	return changed
}

// at has the function looked at then, zero for never.
func (s *Scaler) at(f *function, due time.Time) {
	f.due = due
	switch {
	case due.IsZero() && f.place >= 0:
		heap.Remove(&s.due, f.place)
	case due.IsZero():
	case f.place >= 0:
		heap.Fix(&s.due, f.place)
	default:
		heap.Push(&s.due, f)
	}
	if f.place == 0 {
		select {
		case s.news <- struct{}{}:
		default:
		}
	}
}
