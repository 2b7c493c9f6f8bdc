package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"time"

	"lofn"
	"lofn/bench/load"
)

// sleeper is a function that is called while it has no replica.
type sleeper struct {
	title, name, language string
	// needs is the program without which it cannot run.
	needs string
	files map[string]string
}

var sleepers = []sleeper{
	{title: "Go, static", name: "bench"},
	{"Python, python3-http", "cold-python", "python3-http", "python3", map[string]string{
		"handler.py":       "def handle(event, context):\n    return {\"statusCode\": 200, \"body\": \"ok\"}\n",
		"requirements.txt": "",
	}},
	{"Node.js, node22", "cold-node", "node22", "node", map[string]string{
		"handler.js":   "'use strict'\nmodule.exports = async (event, context) => context.status(200).succeed('ok')\n",
		"package.json": `{"name": "cold", "version": "1.0.0", "private": true}`,
	}},
}

// measureCold calls functions that have no replica, and starts their programs
// bare for comparison; then it does so for a while as often as asked.
func measureCold(ctx context.Context, p *platform, o options) error {
	rows := [][]string{{"Function", "cold call p50", "p99", "bare exec to listen p50", "p99", "cold ÷ bare", "cold − bare"}}
	for _, s := range sleepers {
		if _, err := exec.LookPath(s.needs); s.needs != "" && err != nil {
			fmt.Printf("%s is not installed, so %s is not measured.\n\n", s.needs, s.title)
			continue
		}
		cold, bare, err := p.startCold(ctx, s, o.coldCalls)
		if err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
		rows = append(rows, coldRow(s.title, cold, bare))
	}
	heading("Cold calls", "From a call to a function without a replica to its answer, beside the time from executing the same program bare to its listening; %d of each, in turn. Ratios and differences are of the same round, medians.", o.coldCalls)
	table(1, rows)
	return p.sustainCold(ctx, o)
}

func coldRow(title string, cold, bare []time.Duration) []string {
	var ratios []float64
	var differences []time.Duration
	for i := range cold {
		ratios = append(ratios, float64(cold[i])/float64(bare[i]))
		differences = append(differences, cold[i]-bare[i])
	}
	return []string{
		title, milli(quantile(cold, 50)), milli(quantile(cold, 99)), milli(quantile(bare, 50)), milli(quantile(bare, 99)),
		fmt.Sprintf("%.2f", quantile(ratios, 50)), milli(quantile(differences, 50)),
	}
}

// quantile returns the value that so many of a hundred do not exceed.
func quantile[T time.Duration | float64](values []T, percent int) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}

// startCold measures rounds of a cold call and a bare start.
func (p *platform) startCold(ctx context.Context, s sleeper, rounds int) (cold, bare []time.Duration, err error) {
	ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: s.name}
	if s.language != "" {
		if _, err := p.up(ctx, ref, s.language, s.files); err != nil {
			return nil, nil, err
		}
		defer func() { _ = p.Remove(ctx, ref) }()
	}
	program, err := p.bareProgram(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	target := load.Target{Name: s.title, Network: "tcp", Address: p.address, Path: "/function/" + s.name}
	for range rounds {
		if err := p.Scale(ctx, ref, 0); err != nil {
			return nil, nil, err
		}
		if _, err := p.ready(ctx, ref, 0); err != nil {
			return nil, nil, err
		}
		r, err := load.Run(ctx, target, load.Plan{Connections: 1})
		if err != nil {
			return nil, nil, err
		}
		took, err := program.start(ctx)
		if err != nil {
			return nil, nil, err
		}
		cold, bare = append(cold, r.P50), append(bare, took)
	}
	return cold, bare, nil
}
