// Package simulate replays a trace of calls through the real scaler and the
// real pool, in virtual time, and reports what the callers and the machines
// would have felt. What is simulated is the rest: calls take as long as the
// trace says, and replicas take a moment to start on nodes of a certain size.
//
// A simulation has one goroutine and a clock of its own, so the same input has
// the same outcome, and a day takes as long as its calls take to count.
package simulate

import (
	"context"
	"time"

	"lofn"
	"lofn/internal/scale"
)

// Config is what a simulation works with.
type Config struct {
	// Trace is what is called, and when.
	Trace Trace
	// Deploy returns a function of the trace as somebody deployed it; nil means
	// one that says nothing about itself. Its Replicas are ignored: it starts as
	// a fresh deployment does, or at zero if it may be there.
	Deploy func(lofn.Ref) lofn.Function
	// ColdStart is how long a replica takes from its start to its first call.
	ColdStart Spread
	// Memory (bytes) and MilliCPU are what a replica takes of its node if neither
	// the trace nor the function says how much.
	Memory, MilliCPU int64
	// Nodes are where replicas run. The zero value has room for any number.
	Nodes Nodes
	// Seed makes chance repeatable.
	Seed uint64
	// Start is the time of day at which the trace begins, unless the trace itself
	// says so. It matters for windows of time (lofn.AnnotationWarm).
	Start time.Time
	// Length is how long the simulation lasts at least: beyond the end of the
	// trace, to see how things calm down.
	Length time.Duration
	// Points is about how many points the report's series has; 0 means 240.
	Points int
	// Warm reads lofn.AnnotationWarm; nil knows none.
	Warm func(text string) (Window, error)
	// Decided, if not nil, is told of each change that the scaler decides.
	Decided func(at time.Duration, ref lofn.Ref, from, to int)
}

// Window is when a function is kept warm.
type Window = scale.Window

// Nodes are machines of one size.
type Nodes struct {
	// Count is how many there are, 0 for no bound on replicas.
	Count int
	// Memory (bytes) and MilliCPU are what each has for replicas, 0 for no bound.
	Memory, MilliCPU int64
}

// Run simulates, until the trace is over and every call has ended.
func Run(ctx context.Context, c Config) (Report, error) {
	s, err := newSimulation(c)
	if err != nil {
		return Report{}, err
	}
	calls, err := c.Trace.Open()
	if err != nil {
		return Report{}, err
	}
	defer calls.Close()
	if err := s.run(ctx, calls); err != nil {
		return Report{}, err
	}
	return s.report(), nil
}
