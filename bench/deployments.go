package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"lofn"
	"lofn/bench/load"
)

// gatewayCall is the smallest call through the gateway.
func (p *platform) gatewayCall() load.Target {
	return load.Target{Name: wayGateway, Network: "tcp", Address: p.address, Path: "/function/bench"}
}

// deployMany deploys functions of the same image, and returns how long it took
// until each was accepted.
func (p *platform) deployMany(ctx context.Context, prefix string, n int, labels map[string]string) (refs []lofn.Ref, accepted []time.Duration, err error) {
	for i := range n {
		ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: fmt.Sprintf("%s-%d", prefix, i)}
		began := time.Now()
		if err := p.Create(ctx, lofn.Deployment{Service: ref.Name, Namespace: ref.Namespace, Image: p.image, Labels: labels}); err != nil {
			return nil, nil, err
		}
		refs, accepted = append(refs, ref), append(accepted, time.Since(began))
	}
	return refs, accepted, nil
}

// measureManyFunctions deploys functions that have no replica, while another
// one is called. Beside it there is a platform with one function only.
func measureManyFunctions(ctx context.Context, p *platform, o options) error {
	other, err := startPlatform(ctx, o.lofn)
	if err != nil {
		return err
	}
	defer other.stop()
	few, many := other.gatewayCall(), p.gatewayCall()
	few.Name = wayFew
	// Code that both run is in memory once, so it is before, too.
	if _, err := takeTurns(ctx, []load.Target{few, many}, 1, planOf(32, o)); err != nil {
		return err
	}
	before, err := memoryOf(p.pid())
	if err != nil {
		return err
	}
	accepted, meanwhile, err := p.deployUnderLoad(ctx, o)
	if err != nil {
		return err
	}
	if err := pause(ctx, o.rest); err != nil {
		return err
	}
	after, err := memoryOf(p.pid())
	if err != nil {
		return err
	}
	listed, err := p.timeLists(ctx, o.rounds)
	if err != nil {
		return err
	}
	targets := []load.Target{few, many}
	rounds, err := takeTurns(ctx, targets, o.rounds, planOf(32, o))
	if err != nil {
		return err
	}
	heading(fmt.Sprintf("%d functions without a replica", o.functions), "Deployed one after the other, while another function is called %.0f times per second. Peaks are with 32 connections, medians of %d rounds of %s, in turn with a platform that has one function.", o.rate, o.rounds, o.duration)
	table(1, [][]string{
		{"", ""},
		{"a deployment: median, 99 of 100, slowest", fmt.Sprintf("%s, %s, %s", milli(accepted[len(accepted)/2]), milli(accepted[len(accepted)*99/100]), milli(accepted[len(accepted)-1]))},
		{"calls meanwhile, failed", fmt.Sprintf("%d, %d", meanwhile.Total(), meanwhile.Failed)},
		{"p50 and p99 meanwhile", micro(meanwhile.P50) + ", " + micro(meanwhile.P99)},
		{"peak, and with one function, calls/s", fmt.Sprintf("%.0f, %.0f", medianOf(rounds[1], load.Result.Rate), medianOf(rounds[0], load.Result.Rate))},
		{"ratio", ratio(targets, rounds, 1, wayFew)},
		{"all of them listed, median", milli(listed)},
		{fmt.Sprintf("memory of the platform (PSS) before, and %s after", o.rest), mebibytes(float64(before.platform)) + ", " + mebibytes(float64(after.platform))},
		{"for each function", fmt.Sprintf("%.2f KiB", (float64(after.platform)-float64(before.platform))/1024/float64(o.functions))},
	})
	return meanwhile.Err()
}

// wayFew leads to a platform with one function.
const wayFew = "one function"

// timeLists is how long it takes to list all functions, the median.
func (p *platform) timeLists(ctx context.Context, rounds int) (time.Duration, error) {
	var times []time.Duration
	for range rounds {
		began := time.Now()
		if _, err := p.Functions(ctx, lofn.DefaultNamespace); err != nil {
			return 0, err
		}
		times = append(times, time.Since(began))
	}
	return quantile(times, 50), nil
}

// deployUnderLoad returns how long the deployments took, in order, and what
// became of the calls during them.
func (p *platform) deployUnderLoad(ctx context.Context, o options) ([]time.Duration, load.Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	deployed := make(chan struct{})
	var accepted []time.Duration
	var failed error
	go func() {
		defer close(deployed)
		_, accepted, failed = p.deployMany(ctx, "idle", o.functions, map[string]string{lofn.LabelScaleMin: "0"})
	}()
	meanwhile, err := load.Run(ctx, p.gatewayCall(), load.Plan{Connections: 32, Rate: o.rate, For: time.Hour, Stop: deployed})
	if err != nil {
		cancel()
	}
	<-deployed
	if err == nil {
		err = failed
	}
	slices.Sort(accepted)
	return accepted, meanwhile, err
}

// measureDeployments deploys functions with a replica each, and asks the
// kernel what they cost.
func measureDeployments(ctx context.Context, p *platform, o options) error {
	before, err := memoryOf(p.pid())
	if err != nil {
		return err
	}
	start := time.Now()
	refs, accepted, err := p.deployMany(ctx, "bench", o.deploy, nil)
	if err != nil {
		return err
	}
	// One after the other, so that looking is not what takes the time.
	for _, ref := range refs {
		if _, err := p.ready(ctx, ref, 1); err != nil {
			return err
		}
	}
	took := time.Since(start)
	after, err := memoryOf(p.pid())
	if err != nil {
		return err
	}
	slices.Sort(accepted)
	n := float64(len(refs))
	heading(fmt.Sprintf("%d functions with a replica", len(refs)), "Of one image, deployed one after the other.")
	table(1, [][]string{
		{"", ""},
		{"a deployment accepted and on disk, median", milli(accepted[len(accepted)/2])},
		{"all deployed and ready", fmt.Sprintf("%s, %s each", took.Round(10*time.Millisecond), milli(took/time.Duration(len(refs))))},
		{"memory of a function's processes (PSS)", mebibytes((float64(after.functions) - float64(before.functions)) / n)},
		{"memory of the platform for each function (PSS)", mebibytes((float64(after.platform) - float64(before.platform)) / n)},
		{"memory of the platform (PSS) before and after", mebibytes(float64(before.platform)) + ", " + mebibytes(float64(after.platform))},
	})
	return nil
}
