package main

import (
	"context"
	"fmt"
	"slices"

	"lofn/bench/load"
)

// pressure is one row of what calls are made with.
type pressure struct {
	connections int
	body        int // bytes of the request's body, and of the answer's
}

var pressures = []pressure{{1, 0}, {8, 0}, {32, 0}, {256, 0}, {32, 1 << 10}, {32, 64 << 10}}

func (p pressure) String() string {
	if p.body == 0 {
		return counted(p.connections, "connection")
	}
	return fmt.Sprintf("%s, %d KiB both ways", counted(p.connections, "connection"), p.body>>10)
}

// measureCalls loads all ways to the function in a closed loop.
func measureCalls(ctx context.Context, p *platform, o options) error {
	w, err := openWays(ctx, p)
	if err != nil {
		return err
	}
	defer w.close()
	rows := [][]string{{"Load", "Way", "calls/s", "× nginx", "× direct", "p50", "p99"}}
	for _, load := range pressures {
		targets := w.to("GET", "/", nil)
		if load.body > 0 {
			targets = w.to("POST", "/echo", make([]byte, load.body))
		}
		rounds, err := takeTurns(ctx, targets, o.rounds, planOf(load.connections, o))
		if err != nil {
			return err
		}
		rows = append(rows, callRows(load.String(), targets, rounds)...)
	}
	heading(p.title("Calls"), "A closed loop of %s; medians of %d rounds of %s for each, in turn. Ratios are medians of the rounds' own; in brackets their range.",
		"a Go function that answers `ok`, or with what it was sent", o.rounds, o.duration)
	table(2, rows)
	return nil
}

func planOf(connections int, o options) load.Plan {
	return load.Plan{Connections: connections, For: o.duration}
}

// takeTurns loads each target in each round, and returns the rounds of each.
// Who is first changes, so that nobody always follows the same one.
func takeTurns(ctx context.Context, targets []load.Target, rounds int, plan load.Plan) ([][]load.Result, error) {
	results := make([][]load.Result, len(targets))
	for round := range rounds {
		for turn := range targets {
			i := (round + turn) % len(targets)
			r, err := load.Run(ctx, targets[i], plan)
			if err == nil {
				err = r.Err()
			}
			if err != nil {
				return nil, err
			}
			results[i] = append(results[i], r)
		}
	}
	return results, nil
}

func callRows(pressure string, targets []load.Target, rounds [][]load.Result) [][]string {
	var rows [][]string
	for i, t := range targets {
		rows = append(rows, []string{
			pressure, t.Name, fmt.Sprintf("%.0f", medianOf(rounds[i], load.Result.Rate)),
			ratio(targets, rounds, i, wayNginx), ratio(targets, rounds, i, wayDirect),
			micro(medianOf(rounds[i], p50)), micro(medianOf(rounds[i], p99)),
		})
	}
	return rows
}

func medianOf[R any, T ~int64 | ~float64](rounds []R, of func(R) T) T {
	values := make([]T, len(rounds))
	for i, r := range rounds {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// ratio compares the rate of target i with that of another, round by round.
func ratio(targets []load.Target, rounds [][]load.Result, i int, other string) string {
	to := slices.IndexFunc(targets, func(t load.Target) bool { return t.Name == other })
	if to < 0 || to == i {
		return ""
	}
	var ratios []float64
	for round := range rounds[i] {
		ratios = append(ratios, rounds[i][round].Rate()/rounds[to][round].Rate())
	}
	return spread(ratios)
}

// spread is the median of ratios, and their range.
func spread(ratios []float64) string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", quantile(ratios, 50), slices.Min(ratios), slices.Max(ratios))
}
