package simulate

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"lofn"
	"lofn/internal/pool"
	"lofn/internal/scale"
)

// simulation is one run.
type simulation struct {
	Config
	pool   *pool.Pool
	scaler *scale.Scaler
	random *rand.Rand

	// now is the time since Start.
	now    time.Duration
	events events
	// decide is when the scaler has something to decide next; poked says that it
	// could be sooner.
	decide time.Duration
	poked  atomic.Bool
	// turns are the waits that ended since the last look.
	turns []turn
	// moved is when a call or a replica last got any further.
	moved time.Duration

	functions []*function
	byRef     map[lofn.Ref]*function
	replicas  map[string]*replica
	started   uint64 // how many replicas there ever were
	nodes     *nodes

	recorder recorder
}

// function is one function of the trace.
type function struct {
	deployed lofn.Function
	scaling  lofn.Scaling
	timeout  time.Duration
	need     need
	wanted   int
	// replicas are those that are not gone, in the order in which they came.
	replicas []*replica
	figures  figures
	// changed is when the count changed last, never before that, and rose says in
	// which direction.
	changed time.Duration
	rose    bool
}

// wait is a call that waits for a replica.
type wait struct {
	function *function
	call     Call
}

// turn is the end of a wait.
type turn struct {
	wait
	lease lofn.Lease
	err   error
}

// defaultStart is a Monday.
var defaultStart = time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)

func newSimulation(c Config) (*simulation, error) {
	if start := c.Trace.Start(); !start.IsZero() {
		c.Start = start
	}
	if c.Start.IsZero() {
		c.Start = defaultStart
	}
	c.Length = max(c.Length, c.Trace.Length())
	s := &simulation{
		Config: c, random: rand.New(rand.NewPCG(c.Seed, 1)), nodes: newNodes(c.Nodes),
		byRef: make(map[lofn.Ref]*function), replicas: make(map[string]*replica),
		recorder: newRecorder(c.Length, cmp.Or(c.Points, 240)),
	}
	s.pool = pool.New(pool.Config{Now: s.clock, Poke: s.poke})
	s.scaler = scale.New(scale.Config{Pool: s.pool, Scale: s.scale, Warm: c.Warm, Now: s.clock})
	for _, f := range c.Trace.Functions() {
		if err := s.deploy(f); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *simulation) clock() time.Time { return s.Start.Add(s.now) }

// poke may be called on a goroutine of the pool's.
func (s *simulation) poke(ref lofn.Ref) {
	s.scaler.Poke(ref)
	s.poked.Store(true)
}

// deploy makes a function known as it is when the platform has just started:
// what need not be at zero is ready.
func (s *simulation) deploy(traced Function) error {
	fn := lofn.Function{}
	if s.Deploy != nil {
		fn = s.Deploy(traced.Ref)
	}
	fn.Ref, fn.Generation, fn.CreatedAt = traced.Ref, 1, s.Start
	f, err := s.read(fn, traced)
	if err != nil {
		return err
	}
	if _, twice := s.byRef[fn.Ref]; twice {
		return lofn.Errorf(lofn.Invalid, "the trace names function %s twice", fn.Ref)
	}
	s.functions, s.byRef[fn.Ref] = append(s.functions, f), f
	fn.Replicas = f.scaling.Min
	f.deployed.Replicas = s.scaler.Declare(fn, 1, true)
	s.want(f, f.deployed.Replicas)
	for _, r := range f.replicas {
		if r.node != nil {
			s.ready(r)
		}
	}
	return nil
}

// read takes in what the function says about itself.
func (s *simulation) read(fn lofn.Function, traced Function) (*function, error) {
	scaling, err := fn.Scaling()
	if err != nil {
		return nil, err
	}
	if err := simulated(scaling); err != nil {
		return nil, err
	}
	if err := s.scaler.Check(fn); err != nil {
		return nil, err
	}
	policy, err := fn.Policy()
	if err != nil {
		return nil, err
	}
	need, err := s.need(fn, traced)
	return &function{deployed: fn, scaling: scaling, timeout: policy.Timeout, need: need, changed: never}, err
}

// simulated reports whether a load can be told from calls alone.
func simulated(scaling lofn.Scaling) error {
	switch scaling.Type {
	case "", lofn.ScaleByRequests, lofn.ScaleByCapacity:
		return nil
	}
	return lofn.Errorf(lofn.Invalid, "labels: %s: %q cannot be simulated, for a trace says when functions are called and not what that costs: use %s or %s",
		lofn.LabelScaleType, scaling.Type, lofn.ScaleByRequests, lofn.ScaleByCapacity)
}

// patience is how long nothing may move after the end of the trace before it is
// clear that the calls that wait will wait forever.
func (s *simulation) patience() time.Duration {
	longest := time.Duration(0)
	for _, f := range s.functions {
		if f.scaling.Zero {
			longest = max(longest, f.scaling.ZeroDuration)
		}
	}
	return longest + 10*time.Minute
}

// checkEvery is how many steps pass between two looks at the context.
const checkEvery = 1 << 14

// run takes one event after the other. Of those at the same time, the ends come
// first, then arrivals, then decisions.
func (s *simulation) run(ctx context.Context, calls Calls) error {
	arrival, err := next(calls)
	patience := s.patience()
	for step := 0; err == nil; step++ {
		if step%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		s.settle(ctx)
		at := min(s.events.next(), arrival.At, s.decide)
		if arrival.At == never && s.over(at, patience) {
			s.advance(max(s.now, s.Length))
			return nil
		}
		s.advance(at)
		switch at {
		case s.events.next():
			s.happen(s.events.pop())
		case arrival.At:
			s.arrive(arrival)
			arrival, err = next(calls)
		default:
			s.poked.Store(true)
		}
	}
	return err
}

// next returns a call that never comes when there are no more.
func next(calls Calls) (Call, error) {
	call, err := calls.Next()
	if errors.Is(err, io.EOF) {
		return Call{At: never}, nil
	}
	return call, err
}

// over reports whether nothing of interest happens from then on.
func (s *simulation) over(at, patience time.Duration) bool {
	if at <= s.Length {
		return false
	}
	if s.recorder.inFlight+s.recorder.waiting == 0 {
		return true
	}
	return len(s.events.heap) == 0 && at > s.moved+patience
}

func (s *simulation) advance(at time.Duration) {
	s.recorder.advance(at)
	s.now = at
}

// settle does all that has become due at this instant.
func (s *simulation) settle(ctx context.Context) {
	for {
		switch {
		case len(s.turns) > 0:
			s.take()
		case s.poked.Swap(false):
			s.step(ctx)
		default:
			return
		}
	}
}

func (s *simulation) step(ctx context.Context) {
	s.decide = never
	if next := s.scaler.Step(ctx); !next.IsZero() {
		s.decide = max(next.Sub(s.Start), s.now)
	}
}

// arrive has a call come.
func (s *simulation) arrive(call Call) {
	f := s.functions[call.Function]
	f.figures.calls++
	s.recorder.calls++
	if lease, ok := s.pool.TryLease(f.deployed.Ref); ok {
		s.begin(turn{wait: wait{f, call}, lease: lease})
		return
	}
	w := wait{f, call}
	s.recorder.waiting++
	s.pool.Ask(f.deployed.Ref, func(lease lofn.Lease, err error) {
		s.turns = append(s.turns, turn{w, lease, err})
	})
}

// take gives their turns to calls that waited.
func (s *simulation) take() {
	turns := s.turns
	for _, t := range turns {
		s.recorder.waiting--
		if t.err != nil {
			t.function.figures.refused++
			continue
		}
		s.begin(t)
	}
	clear(turns)
	s.turns = turns[:0]
}

// begin has a call run on the replica that it got.
func (s *simulation) begin(t turn) {
	r := s.replicas[t.lease.Replica().ID]
	waited := s.now - t.call.At
	t.function.figures.begins(waited, r.readyAt >= t.call.At, t.call.Duration, t.function.timeout)
	if waited > 0 {
		s.recorder.waits.add(waited)
	}
	r.calls++
	s.recorder.inFlight++
	s.events.push(event{at: s.now + t.call.Duration, replica: r, lease: t.lease})
}

// happen has an event come to pass.
func (s *simulation) happen(e event) {
	s.moved = s.now
	if e.lease == nil {
		if !e.replica.stopping {
			s.ready(e.replica)
		}
		return
	}
	e.lease.Release()
	s.recorder.inFlight--
	e.replica.function.figures.ended++
	e.replica.calls--
	if e.replica.stopping && e.replica.calls == 0 {
		s.gone(e.replica)
	}
}
