package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lofn"
)

// contender is one of the ways to get from nothing to a function's answer.
type contender struct {
	name  string
	start func(context.Context, int) (time.Duration, error)
	times []time.Duration
}

// coldPlatform is a platform whose function is a container at zero.
type coldPlatform struct {
	*platform
	spare bool
	// first is the start for the deployment, startups those for calls.
	first    lofn.Startup
	startups []lofn.Startup
}

// zero has the function at zero for the first time.
func (p *coldPlatform) zero(ctx context.Context) error {
	status, err := p.ready(ctx, benchRef(), 1)
	if err != nil {
		return err
	}
	p.first = status.Instances[0].Startup
	return p.sleepUntilSpare(ctx, benchRef(), p.spare)
}

// measureContainerCold starts the same container in turn: for a call, from a
// container that waits and from nothing, and without the platform.
func measureContainerCold(ctx context.Context, b *box, o options) error {
	spare, err := b.startContainers(ctx, o, 0)
	if err != nil {
		return err
	}
	defer spare.stop()
	none, err := b.startContainers(ctx, o, 1, "--container-standby", "0")
	if err != nil {
		return err
	}
	defer none.stop()
	in, err := newNetns(filepath.Join(b.dir, "network"))
	if err != nil {
		return err
	}
	defer in.remove()
	all, err := b.coldRivals(ctx, spare, in)
	if err != nil {
		return err
	}
	if err := describeMachine(ctx, spare); err != nil {
		return err
	}
	return raceCold(ctx, all, &coldPlatform{platform: spare, spare: true}, &coldPlatform{platform: none}, o.coldCalls)
}

// coldRivals start the platform's function without it.
func (b *box) coldRivals(ctx context.Context, p *platform, in *netns) ([]*contender, error) {
	runc, err := b.newBareRunc(ctx, p, in)
	if err != nil {
		return nil, err
	}
	ctr, err := b.newCtrRun(ctx, p, func(string) *netns { return in })
	if err != nil {
		return nil, err
	}
	return []*contender{
		{name: "`runc run`", start: func(ctx context.Context, n int) (time.Duration, error) {
			return timeRival(ctx, runc, in, fmt.Sprint("runc-", n))
		}},
		{name: "`ctr run`", start: func(ctx context.Context, n int) (time.Duration, error) {
			return timeRival(ctx, ctr, in, fmt.Sprint("ctr-", n))
		}},
	}, nil
}

// raceCold has the platforms take turns with the rivals.
func raceCold(ctx context.Context, all []*contender, with, without *coldPlatform, rounds int) error {
	all = append(all, &contender{name: "lofn, a container waits", start: with.start}, &contender{name: "lofn, none waits", start: without.start})
	for _, p := range []*coldPlatform{with, without} {
		if err := p.zero(ctx); err != nil {
			return err
		}
	}
	if err := startInTurn(ctx, all, rounds); err != nil {
		return err
	}
	reportContainerCold(all, with, without, rounds)
	return errors.Join(with.agree(ctx), without.agree(ctx))
}

// startInTurn has each start in each round. Another one begins each.
func startInTurn(ctx context.Context, all []*contender, rounds int) error {
	for round := range rounds {
		for turn := range all {
			c := all[(round+turn)%len(all)]
			took, err := c.start(ctx, round)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			c.times = append(c.times, took)
			if err := pause(ctx, settleTime); err != nil {
				return err
			}
		}
	}
	return nil
}

// start calls the function, and has it at zero again.
func (p *coldPlatform) start(ctx context.Context, _ int) (time.Duration, error) {
	took, err := firstAnswer(ctx, time.Now(), p.address, "/function/bench")
	if err != nil {
		return 0, err
	}
	status, err := p.ready(ctx, benchRef(), 1)
	if err != nil {
		return 0, err
	}
	startup := status.Instances[0].Startup
	if startup.Standby != p.spare {
		return 0, fmt.Errorf("a container waited: %t, want %t", startup.Standby, p.spare)
	}
	p.startups = append(p.startups, startup)
	return took, p.sleepUntilSpare(ctx, benchRef(), p.spare)
}

func reportContainerCold(all []*contender, with, without *coldPlatform, rounds int) {
	heading("Cold calls: containers", "From a call to a function without a replica to its answer, beside the time from executing `runc run` and `ctr run` for the same image until it answers; %d of each, in turn. "+
		"runc has the files unpacked, the same description, and a network made before, in which it is called; `ctr run` has that network, and the image unpacked. Ratios are medians of the rounds' own; in brackets their range.", rounds)
	rows := [][]string{{"Start", "p50", "p99", "× runc run", "× ctr run"}}
	for i, c := range all {
		row := []string{c.name, milli(quantile(c.times, 50)), milli(quantile(c.times, 99)), "", ""}
		for to := range min(i, 2) {
			row[3+to] = spread(quotients(c.times, all[to].times))
		}
		rows = append(rows, row)
	}
	table(1, rows)
	fmt.Print("The parts of a cold call as `lofn describe` has them, medians. The rest is what comes before and after the start: to notice the call, and to make it.\n\n")
	table(1, [][]string{
		partNames(),
		coldRounds{title: all[2].name, cold: all[2].times, startups: with.startups}.parts(),
		coldRounds{title: all[3].name, cold: all[3].times, startups: without.startups}.parts(),
	})
}

// quotients divides round by round.
func quotients(these, those []time.Duration) []float64 {
	ratios := make([]float64, len(these))
	for i := range these {
		ratios[i] = float64(these[i]) / float64(those[i])
	}
	return ratios
}

// agree fails if the platform's metric of its starts says something else than
// what it described them as. The first start, for the deployment, is in the
// metric alone.
func (p *coldPlatform) agree(ctx context.Context) error {
	const metric, of = "lofn_cold_start_seconds_", `{function_name="bench.openfaas-fn",part="total"}`
	count, err := p.metric(ctx, metric+"count"+of)
	if err != nil {
		return err
	}
	sum, err := p.metric(ctx, metric+"sum"+of)
	if err != nil {
		return err
	}
	var described time.Duration
	for _, s := range append(slices.Clone(p.startups), p.first) {
		described += s.Total()
	}
	n := len(p.startups) + 1
	if int(count) != n || math.Abs(sum-described.Seconds()) > 1e-6 {
		return fmt.Errorf("the metric has %.0f starts of %f s in all, and described were %d of %f s", count, sum, n, described.Seconds())
	}
	fmt.Printf("The metric `lofn_cold_start_seconds` has the same %d starts, of %.3f s in all, where a container waits: %t.\n\n", n, sum, p.spare)
	return nil
}

// sleepUntilSpare scales a function to zero, and returns when nothing is left of
// it but a container that waits, if the platform has such.
func (p *platform) sleepUntilSpare(ctx context.Context, ref lofn.Ref, spare bool) error {
	if err := p.sleep(ctx, ref); err != nil {
		return err
	}
	for {
		tasks, err := p.box.ctr(ctx, p.namespace, "tasks", "list")
		if err != nil {
			return err
		}
		running, waiting := strings.Contains(tasks, "RUNNING"), strings.Contains(tasks, "CREATED")
		if !running && waiting == spare {
			return pause(ctx, settleTime)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// settleTime is for what a platform does after a start without being asked.
const settleTime = 300 * time.Millisecond
