package main

import (
	"context"
	"fmt"
	"time"

	"lofn/bench/load"
)

// measureLatency calls all ways at half of the rate that the gateway can do,
// whether earlier calls were answered or not.
func measureLatency(ctx context.Context, p *platform, o options) error {
	w, err := openWays(ctx, p)
	if err != nil {
		return err
	}
	defer w.close()
	const connections = 32
	targets := w.to("GET", "/", nil)
	peaks, err := takeTurns(ctx, targets[len(targets)-1:], o.rounds, planOf(connections, o))
	if err != nil {
		return err
	}
	peak := medianOf(peaks[0], load.Result.Rate)
	plan := load.Plan{Connections: connections, Rate: peak / 2, For: o.duration}
	rounds, err := takeTurns(ctx, targets, o.rounds, plan)
	if err != nil {
		return err
	}
	heading(p.title("Latency at half of peak"), "The gateway's peak was %.0f calls/s with %d connections; here %.0f calls/s are due, evenly spaced, and latencies count from when a call was due. Medians of %d rounds of %s for each, in turn; what is added, to direct in the same round.",
		peak, connections, plan.Rate, o.rounds, o.duration)
	rows := [][]string{{"Way", "p50", "p99", "p50 added", "p99 added"}}
	for i, t := range targets {
		row := []string{t.Name, micro(medianOf(rounds[i], p50)), micro(medianOf(rounds[i], p99)), "", ""}
		if i > 0 {
			row[3], row[4] = added(rounds[i], rounds[0], p50), added(rounds[i], rounds[0], p99)
		}
		rows = append(rows, row)
	}
	table(1, rows)
	return nil
}

func p50(r load.Result) time.Duration { return r.P50 }
func p99(r load.Result) time.Duration { return r.P99 }

// added is the median of the rounds' differences, and their range.
func added(rounds, direct []load.Result, of func(load.Result) time.Duration) string {
	differences := make([]load.Result, len(rounds))
	for i, r := range rounds {
		differences[i].P50 = of(r) - of(direct[i])
	}
	lowest, highest := differences[0].P50, differences[0].P50
	for _, d := range differences {
		lowest, highest = min(lowest, d.P50), max(highest, d.P50)
	}
	return fmt.Sprintf("%s (%d–%d)", micro(medianOf(differences, p50)), lowest.Microseconds(), highest.Microseconds())
}
