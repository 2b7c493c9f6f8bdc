package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"lofn"
	"lofn/bench/load"
)

const (
	// atOnce is how many calls the function may have at once, and work how
	// long each takes, without using the processor; so its capacity is known
	// and small beside what the machine can carry.
	atOnce = 4
	work   = 5 * time.Millisecond
	// mayWait is how many calls may wait for their turn.
	mayWait = 100
	// overload is how much more is offered than was served at most.
	overload = 10
	// waiters bounds the calls that are open at once.
	waiters = 1000
)

// overloaded is a function that can serve little.
var overloaded = lofn.Deployment{
	Service: "overload", Namespace: lofn.DefaultNamespace,
	EnvVars:     map[string]string{"max_inflight": strconv.Itoa(atOnce)},
	Annotations: map[string]string{"lofn.dev/max-queue": strconv.Itoa(mayWait)},
}

// measureOverload offers a function ten times what it can serve.
func measureOverload(ctx context.Context, p *platform, o options) error {
	ref, fn := lofn.Ref{Namespace: overloaded.Namespace, Name: overloaded.Service}, overloaded
	fn.Image = p.image
	if err := p.Create(ctx, fn); err != nil {
		return err
	}
	if _, err := p.ready(ctx, ref, 1); err != nil {
		return err
	}
	// With a body, which the platform has to deal with when it refuses the call.
	target := load.Target{
		Name: "overload", Network: "tcp", Address: p.address, Method: "POST", Path: "/function/overload/sleep?for=" + work.String(), Body: []byte("a body"),
	}
	// Some calls always wait, so that the function is never idle.
	peaks, err := takeTurns(ctx, []load.Target{target}, o.rounds, planOf(3*atOnce, o))
	if err != nil {
		return err
	}
	peak := medianOf(peaks[0], load.Result.Rate)
	floods, grown, err := p.flood(ctx, target, load.Plan{Connections: waiters, Rate: overload * peak, For: time.Duration(o.rounds) * o.duration / 2, Drop: true})
	if err != nil {
		return err
	}
	reportOverload(peak, floods, grown)
	return p.Remove(ctx, ref)
}

func reportOverload(peak float64, floods []load.Result, grown []uint64) {
	heading("Overload", "A function that takes %d calls at once (`max_inflight`), %s each, while %d may wait; it is offered %d times the most that it served, over up to %d connections, twice for %s.",
		atOnce, work, mayWait, overload, waiters, floods[0].Elapsed.Round(100*time.Millisecond))
	rows := [][]string{
		{"", "first", "then"}, {"served at most, calls/s"}, {"offered, calls/s"}, {"served of that, calls/s"}, {"of the most"},
		{"p50 and p99 of what was served"}, {"not served"}, {"lofn's memory grew by"},
	}
	for i, f := range floods {
		for row, text := range []string{
			fmt.Sprintf("%.0f", peak), fmt.Sprintf("%.0f", float64(f.Total()+f.Unsent)/f.Elapsed.Seconds()), fmt.Sprintf("%.0f", f.Rate()),
			fmt.Sprintf("%.2f", f.Rate()/peak), milli(f.P50) + ", " + milli(f.P99), notServed(f), mebibytes(float64(grown[i])),
		} {
			rows[row+1] = append(rows[row+1], text)
		}
	}
	table(1, rows)
}

// flood loads a target twice, and returns by how much the memory of the
// platform grew each time: what is bounded grows once.
func (p *platform) flood(ctx context.Context, target load.Target, plan load.Plan) (floods []load.Result, grown []uint64, err error) {
	for range 2 {
		resident, err := watchMemory(ctx, p.pid())
		if err != nil {
			return nil, nil, err
		}
		flood, err := load.Run(ctx, target, plan)
		more, lost := resident.stop()
		if err := errors.Join(err, lost); err != nil {
			return nil, nil, err
		}
		floods, grown = append(floods, flood), append(grown, more)
	}
	return floods, grown, nil
}

// notServed says why calls were not served, and how many.
func notServed(r load.Result) string {
	var reasons []string
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		reasons = append(reasons, fmt.Sprintf("%d × %s", r.Reasons[reason], reason))
	}
	if r.Unsent > 0 {
		reasons = append(reasons, fmt.Sprintf("%d × no free connection", r.Unsent))
	}
	if len(reasons) == 0 {
		return "0"
	}
	return strings.Join(reasons, "; ")
}
