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
	// overload is how much more is offered than was served at most.
	overload = 10
	// waiters bounds the calls that are open at once.
	waiters = 1000
)

// measureOverload offers a function ten times what it can serve.
func measureOverload(ctx context.Context, p *platform, o options) error {
	ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "overload"}
	limits := map[string]string{"max_inflight": strconv.Itoa(atOnce)}
	if err := p.Create(ctx, lofn.Deployment{Service: ref.Name, Namespace: ref.Namespace, Image: p.image, EnvVars: limits}); err != nil {
		return err
	}
	if _, err := p.ready(ctx, ref, 1); err != nil {
		return err
	}
	target := load.Target{Name: "overload", Network: "tcp", Address: p.address, Path: "/function/overload/sleep?for=" + work.String()}
	peaks, err := takeTurns(ctx, []load.Target{target}, o.rounds, planOf(atOnce, o))
	if err != nil {
		return err
	}
	peak := medianOf(peaks[0], load.Result.Rate)
	resident, err := watchMemory(ctx, p.pid())
	if err != nil {
		return err
	}
	flood, err := load.Run(ctx, target, load.Plan{Connections: waiters, Rate: overload * peak, For: time.Duration(o.rounds) * o.duration, Drop: true})
	grown, lost := resident.stop()
	if err := errors.Join(err, lost); err != nil {
		return err
	}
	heading("Overload", "A function that takes %d calls at once (`max_inflight`) and %s for each, offered %d times the most that it served; for %s, over up to %d connections.",
		atOnce, work, overload, flood.Elapsed.Round(100*time.Millisecond), waiters)
	table(1, [][]string{
		{"", ""},
		{"served at most, calls/s", fmt.Sprintf("%.0f", peak)},
		{"offered, calls/s", fmt.Sprintf("%.0f", float64(flood.Total()+flood.Unsent)/flood.Elapsed.Seconds())},
		{"served of that, calls/s", fmt.Sprintf("%.0f", flood.Rate())},
		{"of the most", fmt.Sprintf("%.2f", flood.Rate()/peak)},
		{"p50 and p99 of what was served", milli(flood.P50) + ", " + milli(flood.P99)},
		{"not served", notServed(flood)},
		{"lofn's memory grew by", mebibytes(float64(grown))},
	})
	return p.Remove(ctx, ref)
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
