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

// coldRounds is what was measured of one function, round by round.
type coldRounds struct {
	title      string
	cold, bare []time.Duration
	startups   []lofn.Startup
}

// measureCold calls functions that have no replica, and starts their programs
// bare for comparison; then it does so for a while as often as asked.
func measureCold(ctx context.Context, p *platform, o options) error {
	var all []coldRounds
	for _, s := range sleepers {
		if _, err := exec.LookPath(s.needs); s.needs != "" && err != nil {
			fmt.Printf("%s is not installed, so %s is not measured.\n\n", s.needs, s.title)
			continue
		}
		r, err := p.startCold(ctx, s, o.coldCalls)
		if err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
		all = append(all, r)
	}
	reportCold(all, o.coldCalls)
	return p.sustainCold(ctx, o)
}

func reportCold(all []coldRounds, calls int) {
	heading("Cold calls", "From a call to a function without a replica to its answer, beside the time from executing the same program bare to its listening; %d of each, in turn. Ratios and differences are of the same round, medians.", calls)
	rows := [][]string{{"Function", "cold call p50", "p99", "bare exec to listen p50", "p99", "cold ÷ bare", "cold − bare"}}
	parts := [][]string{partNames()}
	for _, r := range all {
		rows = append(rows, r.compare())
		parts = append(parts, r.parts())
	}
	table(1, rows)
	fmt.Print("The parts of a cold call as `lofn describe` has them, medians. The rest is what comes before and after the start: to notice the call, and to make it.\n\n")
	table(1, parts)
}

// partCount is how many columns of partNames a start has without a call.
const partCount = 6

func partNames() []string {
	return []string{"Function", "wait", "prepare", "exec", "listen", "accept", "the rest"}
}

func (r coldRounds) compare() []string {
	var ratios []float64
	var differences []time.Duration
	for i, cold := range r.cold {
		ratios = append(ratios, float64(cold)/float64(r.bare[i]))
		differences = append(differences, cold-r.bare[i])
	}
	return []string{
		r.title, milli(quantile(r.cold, 50)), milli(quantile(r.cold, 99)), milli(quantile(r.bare, 50)), milli(quantile(r.bare, 99)),
		fmt.Sprintf("%.2f", quantile(ratios, 50)), milli(quantile(differences, 50)),
	}
}

func (r coldRounds) parts() []string {
	row := []string{r.title}
	for _, part := range []func(i int) time.Duration{
		func(i int) time.Duration { return r.startups[i].Wait },
		func(i int) time.Duration { return r.startups[i].Prepare },
		func(i int) time.Duration { return r.startups[i].Exec },
		func(i int) time.Duration { return r.startups[i].Listen },
		func(i int) time.Duration { return r.startups[i].Accept },
		func(i int) time.Duration { return r.cold[i] - r.startups[i].Total() },
	} {
		var times []time.Duration
		for i := range r.startups {
			times = append(times, part(i))
		}
		row = append(row, fmt.Sprintf("%.2f ms", quantile(times, 50).Seconds()*1000))
	}
	return row
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
func (p *platform) startCold(ctx context.Context, s sleeper, rounds int) (coldRounds, error) {
	r := coldRounds{title: s.title}
	ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: s.name}
	if s.language != "" {
		if _, err := p.up(ctx, ref, s.language, s.files); err != nil {
			return r, err
		}
		defer func() { _ = p.Remove(ctx, ref) }()
	}
	program, err := p.bareProgram(ctx, ref)
	if err != nil {
		return r, err
	}
	for range rounds {
		if err := p.round(ctx, ref, program, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

// round makes a cold call, and starts the program bare.
func (p *platform) round(ctx context.Context, ref lofn.Ref, program bareProgram, r *coldRounds) error {
	if err := p.sleep(ctx, ref); err != nil {
		return err
	}
	target := load.Target{Name: r.title, Network: "tcp", Address: p.address, Path: "/function/" + ref.Name}
	called, err := load.Run(ctx, target, load.Plan{Connections: 1})
	if err != nil {
		return err
	}
	status, err := p.ready(ctx, ref, 1)
	if err != nil {
		return err
	}
	bare, err := program.start(ctx)
	if err != nil {
		return err
	}
	r.cold, r.bare, r.startups = append(r.cold, called.P50), append(r.bare, bare), append(r.startups, status.Instances[0].Startup)
	return nil
}

// sleep scales a function to zero, and returns when nothing is left of it.
func (p *platform) sleep(ctx context.Context, ref lofn.Ref) error {
	if err := p.Scale(ctx, ref, 0); err != nil {
		return err
	}
	for {
		// Rarely, for each look is work for the platform.
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
		status, err := p.Function(ctx, ref)
		if err != nil || len(status.Instances) == 0 {
			return err
		}
	}
}
