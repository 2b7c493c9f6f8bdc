package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"lofn"
	"lofn/bench/load"
)

const (
	// asyncConnections is how many clients submit calls at a time.
	asyncConnections = 256
	// asyncBody is what each call brings, in bytes.
	asyncBody = 256
)

// asyncHeld is a function whose only replica never ends its only call, so that
// what is measured is that calls are accepted, and not that they are made.
var asyncHeld = lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "held"}

// measureAsync measures how fast calls are accepted that nobody waits for,
// beside messages of the same size published to JetStream one by one, and how
// fast they are made.
func measureAsync(ctx context.Context, p *platform, o options) error {
	if err := p.hold(ctx); err != nil {
		return err
	}
	defer p.letGo(context.WithoutCancel(ctx))
	size, err := p.loggedSize(ctx, o)
	if err != nil {
		return err
	}
	peer, err := startPublishing(ctx)
	if err != nil {
		return err
	}
	defer peer.stop()
	accepted, published, err := p.accept(ctx, peer, size, o)
	if err != nil {
		return err
	}
	peer.stop() // what follows has the machine to itself
	half, err := runWhole(ctx, p.held(), load.Plan{Connections: asyncConnections, Rate: medianOf(accepted, load.Result.Rate) / 2, For: 3 * o.duration})
	if err != nil {
		return err
	}
	made, took, err := p.throughput(ctx, 3*o.duration)
	if err != nil {
		return err
	}
	heading("Asynchronous calls", "%d clients submit calls with a body of %d bytes, each flushed to the disk before its 202; beside it as many clients that each publish messages of %d bytes, which is what such a call takes in lofn's log, one by one to a JetStream of the same version that flushes each before it confirms it. Medians of %d rounds of %s for each, in turn.",
		asyncConnections, asyncBody, size, o.rounds, o.duration)
	reportAsync(accepted, published, half, fmt.Sprintf("%.0f (%d calls in %.1f s)", float64(made)/took.Seconds(), made, took.Seconds()))
	return nil
}

func reportAsync(accepted []load.Result, published []float64, half load.Result, throughput string) {
	peak := medianOf(accepted, load.Result.Rate)
	ratios := make([]float64, len(accepted))
	for i := range accepted {
		ratios[i] = accepted[i].Rate() / published[i]
	}
	table(1, [][]string{
		{"", ""},
		{"accepted with 202, calls/s", fmt.Sprintf("%.0f", peak)},
		{"published one by one, messages/s", fmt.Sprintf("%.0f", quantile(published, 50))},
		{"accepted ÷ published", spread(ratios)},
		{"p50 and p99 at that rate", milli(medianOf(accepted, p50)) + ", " + milli(medianOf(accepted, p99))},
		{fmt.Sprintf("p50 and p99 at half of it, %.0f calls/s", peak/2), milli(half.P50) + ", " + milli(half.P99)},
		{"from submit to outcome, of a function that does nothing, calls/s", throughput},
	})
}

// hold deploys the function that is held, and has it take its call.
func (p *platform) hold(ctx context.Context) error {
	err := p.Create(ctx, lofn.Deployment{Service: asyncHeld.Name, Namespace: asyncHeld.Namespace, Image: p.image,
		EnvVars:     map[string]string{lofn.EnvMaxInflight: "1", lofn.EnvTimeout: "1h"},
		Annotations: map[string]string{lofn.AnnotationMaxBacklog: strconv.Itoa(lofn.DefaultQueueLimits.Backlog)}})
	if err == nil {
		_, err = p.ready(ctx, asyncHeld, 1)
	}
	return err
}

// letGo ends the call that the function has, for which the platform would wait
// at its end.
func (p *platform) letGo(ctx context.Context) {
	_ = p.Remove(ctx, asyncHeld)
	calls, _ := p.Calls(ctx, lofn.CallQuery{Namespace: asyncHeld.Namespace, Name: asyncHeld.Name, States: []lofn.CallState{lofn.CallRunning}})
	for _, c := range calls {
		_, _ = p.CancelCall(ctx, c.ID)
	}
}

func (p *platform) held() load.Target { return p.asyncTarget(asyncHeld.Name, "/sleep?for=1h") }

func (p *platform) asyncTarget(function, path string) load.Target {
	return load.Target{Name: "async", Network: "tcp", Address: p.address, Method: "POST", Path: "/async-function/" + function + path, Body: make([]byte, asyncBody)}
}

// runWhole is a run in which no call may fail.
func runWhole(ctx context.Context, t load.Target, plan load.Plan) (load.Result, error) {
	r, err := load.Run(ctx, t, plan)
	if err == nil {
		err = r.Err()
	}
	return r, err
}

// loggedSize is how many bytes a call takes in the platform's log. The calls by
// which it is found out warm the platform up.
func (p *platform) loggedSize(ctx context.Context, o options) (int, error) {
	before, err := sizeBelow(p.data)
	if err != nil {
		return 0, err
	}
	r, err := runWhole(ctx, p.held(), load.Plan{Connections: asyncConnections, For: o.duration})
	if err != nil {
		return 0, err
	}
	after, err := sizeBelow(p.data)
	return int(after-before) / r.Calls, err
}

// sizeBelow adds up the files in a folder.
func sizeBelow(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() { // not removed meanwhile
			sum += info.Size()
		}
		return nil
	})
	return sum, err
}

// accept has calls accepted and messages published in turn, and another one of
// the two begin in each round.
func (p *platform) accept(ctx context.Context, peer *publishing, size int, o options) ([]load.Result, []float64, error) {
	accepted, published := make([]load.Result, o.rounds), make([]float64, o.rounds)
	turns := []func(round int) error{
		func(round int) (err error) {
			accepted[round], err = runWhole(ctx, p.held(), load.Plan{Connections: asyncConnections, For: o.duration})
			return err
		},
		func(round int) (err error) {
			published[round], err = peer.publish(ctx, asyncConnections, size, o.duration)
			return err
		},
	}
	for round := range o.rounds {
		for turn := range turns {
			if err := turns[(round+turn)%len(turns)](round); err != nil {
				return nil, nil, err
			}
		}
	}
	return accepted, published, nil
}

// throughput submits calls for a while, and waits until all have their outcome.
func (p *platform) throughput(ctx context.Context, d time.Duration) (made int, took time.Duration, err error) {
	start := time.Now()
	r, err := runWhole(ctx, p.asyncTarget(benchRef().Name, "/"), load.Plan{Connections: asyncConnections, For: d})
	if err != nil {
		return 0, 0, err
	}
	counts, err := p.idle(ctx, isBench)
	took = time.Since(start)
	for _, c := range counts {
		if isBench(c.Function) && c.Succeeded != c.Accepted {
			return 0, 0, fmt.Errorf("%d of %d calls succeeded", c.Succeeded, c.Accepted)
		}
	}
	return r.Calls, took, err
}

func isBench(function string) bool { return function == benchRef().Host() }

// idle waits until the functions that are meant have no calls to be made, and
// returns what the queue has. It asks again where the platform does not answer,
// but not so often that this is what keeps it busy.
func (p *platform) idle(ctx context.Context, meant func(function string) bool) ([]lofn.QueueCounts, error) {
	for {
		asked := time.Now()
		counts, err := p.QueueCounts(ctx, "")
		if err == nil && !slices.ContainsFunc(counts, func(c lofn.QueueCounts) bool { return meant(c.Function) && c.Queued+c.Running > 0 }) {
			return counts, nil
		}
		if err := pause(ctx, max(20*time.Millisecond, 20*time.Since(asked))); err != nil {
			return nil, err
		}
	}
}
