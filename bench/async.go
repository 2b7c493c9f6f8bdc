package main

import (
	"context"
	"fmt"
	"slices"
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
// beside the same messages published to JetStream one by one, and how fast
// they are made.
func measureAsync(ctx context.Context, p *platform, o options) error {
	if err := p.hold(ctx); err != nil {
		return err
	}
	peer, err := startPublishing(ctx)
	if err != nil {
		return err
	}
	defer peer.stop()
	accepted, published, err := p.accept(ctx, peer, o)
	if err != nil {
		return err
	}
	peak := medianOf(accepted, load.Result.Rate)
	half, err := load.Run(ctx, asyncTarget(p, asyncHeld.Name, "/sleep?for=1h"), load.Plan{Connections: asyncConnections, Rate: peak / 2, For: 3 * o.duration})
	if err == nil {
		err = half.Err()
	}
	if err != nil {
		return err
	}
	made, took, err := p.throughput(ctx, 3*o.duration)
	if err != nil {
		return err
	}

	heading("Asynchronous calls", "%d clients submit calls of %d bytes, each flushed to the disk before its 202; beside it as many clients that each publish such a message to an embedded JetStream of the same version that flushes each, one by one. Medians of %d rounds of %s for each, in turn.",
		asyncConnections, asyncBody, o.rounds, o.duration)
	ratios := make([]float64, len(accepted))
	for i := range accepted {
		ratios[i] = accepted[i].Rate() / published[i]
	}
	slices.Sort(ratios)
	slices.Sort(published)
	table(1, [][]string{
		{"", ""},
		{"accepted with 202, calls/s", fmt.Sprintf("%.0f", peak)},
		{"published one by one, messages/s", fmt.Sprintf("%.0f", published[len(published)/2])},
		{"accepted ÷ published", fmt.Sprintf("%.2f (%.2f–%.2f)", ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])},
		{"p50 and p99 at that rate", milli(medianOf(accepted, p50)) + ", " + milli(medianOf(accepted, p99))},
		{fmt.Sprintf("p50 and p99 at half of it, %.0f calls/s", peak/2), milli(half.P50) + ", " + milli(half.P99)},
		{"from submit to outcome, of a function that does nothing, calls/s", fmt.Sprintf("%.0f (%d calls in %.1f s)", float64(made)/took.Seconds(), made, took.Seconds())},
	})
	return nil
}

// hold deploys the function that is held, and has it take its call.
func (p *platform) hold(ctx context.Context) error {
	err := p.Create(ctx, lofn.Deployment{Service: asyncHeld.Name, Namespace: asyncHeld.Namespace, Image: p.image,
		EnvVars: map[string]string{lofn.EnvMaxInflight: "1", lofn.EnvTimeout: "1h"}})
	if err == nil {
		_, err = p.ready(ctx, asyncHeld, 1)
	}
	return err
}

func asyncTarget(p *platform, function, path string) load.Target {
	return load.Target{Name: "async", Network: "tcp", Address: p.address, Method: "POST", Path: "/async-function/" + function + path, Body: make([]byte, asyncBody)}
}

// accept has calls accepted and messages published in turn.
func (p *platform) accept(ctx context.Context, peer *publishing, o options) (accepted []load.Result, published []float64, err error) {
	target := asyncTarget(p, asyncHeld.Name, "/sleep?for=1h")
	for range o.rounds {
		r, err := load.Run(ctx, target, load.Plan{Connections: asyncConnections, For: o.duration})
		if err == nil {
			err = r.Err()
		}
		if err != nil {
			return nil, nil, err
		}
		rate, err := peer.publish(ctx, asyncConnections, asyncBody, o.duration)
		if err != nil {
			return nil, nil, err
		}
		accepted, published = append(accepted, r), append(published, rate)
	}
	return accepted, published, nil
}

// throughput submits calls for a while, and waits until all have their outcome.
func (p *platform) throughput(ctx context.Context, d time.Duration) (made int, took time.Duration, err error) {
	start := time.Now()
	r, err := load.Run(ctx, asyncTarget(p, benchRef().Name, "/"), load.Plan{Connections: asyncConnections, For: d})
	if err == nil {
		err = r.Err()
	}
	for err == nil {
		var counts []lofn.QueueCounts
		if counts, err = p.QueueCounts(ctx, ""); err != nil {
			break
		}
		i := slices.IndexFunc(counts, func(c lofn.QueueCounts) bool { return c.Function == benchRef().Host() })
		if i >= 0 && counts[i].Queued+counts[i].Running == 0 {
			if counts[i].Succeeded != counts[i].Accepted {
				err = fmt.Errorf("%d of %d calls succeeded", counts[i].Succeeded, counts[i].Accepted)
			}
			return r.Calls, time.Since(start), err
		}
		err = pause(ctx, 20*time.Millisecond)
	}
	return 0, 0, err
}
