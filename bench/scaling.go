package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"lofn"
	"lofn/bench/load"
	"lofn/internal/simulate"
)

const (
	// herd is how many calls come at one instant, herdTarget how many of them a
	// replica is meant to have.
	herd, herdTarget = 1000, 100
	// stepTarget is how many calls each second a replica is meant to have, and
	// stepRate how many come while the step lasts: 20 times as many.
	stepTarget, stepRate = 10, 200
	stepNeeds            = stepRate / stepTarget
	stepTime             = 20 * time.Second
	stepWork             = 5 * time.Millisecond
	// stepWindow is short, so that the way down is not only waiting.
	stepWindow = 10 * time.Second
)

// scaled deploys a function that is scaled by its load, with one replica.
func (p *platform) scaled(ctx context.Context, name string, labels map[string]string) (lofn.Ref, error) {
	ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: name}
	if err := p.Create(ctx, lofn.Deployment{Service: name, Namespace: ref.Namespace, Image: p.image, Labels: labels}); err != nil {
		return ref, err
	}
	_, err := p.ready(ctx, ref, 1)
	return ref, err
}

func (p *platform) callOf(ref lofn.Ref, path string) load.Target {
	return load.Target{Name: ref.Name, Network: "tcp", Address: p.address, Path: "/function/" + ref.Name + path}
}

// measureHerd makes many calls at once of a function at zero.
func measureHerd(ctx context.Context, p *platform, o options) error {
	ref, err := p.scaled(ctx, "herd", map[string]string{
		lofn.LabelScaleType: string(lofn.ScaleByCapacity), lofn.LabelScaleTarget: strconv.Itoa(herdTarget), lofn.LabelScaleProportion: "1", lofn.LabelScaleMax: "100",
	})
	if err != nil {
		return err
	}
	heading("A herd", "%d calls of 500 ms each at one instant, of a function at zero whose replicas are meant to have %d at a time: the target asks for %d replicas.",
		herd, herdTarget, herd/herdTarget)
	rows := [][]string{{"", "calls answered", "failed", "replicas", "p50", "p99"}}
	for round := range o.rounds {
		if err := p.Scale(ctx, ref, 0); err != nil {
			return err
		}
		if _, err := p.ready(ctx, ref, 0); err != nil {
			return err
		}
		r, err := load.Run(ctx, p.callOf(ref, "/sleep?for=500ms"), load.Plan{Connections: herd})
		if err != nil {
			return err
		}
		status, err := p.Function(ctx, ref)
		if err != nil {
			return err
		}
		rows = append(rows, []string{strconv.Itoa(round + 1), strconv.Itoa(r.Calls), strconv.Itoa(r.Failed), strconv.FormatUint(status.Replicas, 10), milli(r.P50), milli(r.P99)})
	}
	table(1, rows)
	return p.Remove(ctx, ref)
}

// course is how the replicas of a function followed a step of its load.
type course struct {
	// enough is when there were as many ready as the load needs, back when there
	// was one again after its end.
	enough, back        time.Duration
	most, calls, failed int
}

// stepLabels are those of the function that the step is about.
func stepLabels() map[string]string {
	return map[string]string{
		lofn.LabelScaleType: string(lofn.ScaleByRequests), lofn.LabelScaleTarget: strconv.Itoa(stepTarget), lofn.LabelScaleProportion: "1",
		lofn.LabelScaleMax: "100", lofn.LabelScaleDownWindow: stepWindow.String(),
	}
}

// measureStep loads a function with 20 times its target, and with nothing again,
// and has the same simulated.
func measureStep(ctx context.Context, p *platform, o options) error {
	ref, err := p.scaled(ctx, "step", stepLabels())
	if err != nil {
		return err
	}
	status, err := p.Function(ctx, ref)
	if err != nil {
		return err
	}
	watched := make(chan course, 1)
	watching, cancel := context.WithTimeout(ctx, stepTime+2*time.Minute)
	defer cancel()
	began := time.Now()
	go func() { watched <- p.watchStep(watching, ref, began) }()
	r, err := load.Run(ctx, p.callOf(ref, "/sleep?for="+stepWork.String()), load.Plan{Connections: 64, Rate: stepRate, For: stepTime})
	if err != nil {
		return err
	}
	real := <-watched
	real.calls, real.failed = r.Total(), r.Failed
	simulated, err := simulateStep(ctx, ref, status.Instances[0].Startup.Total())
	if err != nil {
		return err
	}
	reportStep(real, simulated)
	if err := p.Remove(ctx, ref); err != nil {
		return err
	}
	return r.Err()
}

func reportStep(real, simulated course) {
	heading("A step", "%d calls per second for %s, and none before and after, of a function whose replicas are meant to have %d: it needs %d. `down.window` is %s. Beside it the same by the simulator of `lofn simulate`.",
		stepRate, stepTime, stepTarget, stepNeeds, stepWindow)
	row := func(name string, value func(course) string) []string {
		return []string{name, value(real), value(simulated)}
	}
	table(1, [][]string{
		{"", "real", "simulated"},
		row("enough replicas ready after", func(c course) string { return seconds(c.enough) }),
		row("more than needed, at most", func(c course) string { return strconv.Itoa(c.most - stepNeeds) }),
		row("one replica again after", func(c course) string { return seconds(c.back) }),
		row("calls", func(c course) string { return strconv.Itoa(c.calls) }),
		row("failed", func(c course) string { return strconv.Itoa(c.failed) }),
	})
}

// simulateStep is the step in the simulator, with replicas that start as fast as
// one did.
func simulateStep(ctx context.Context, ref lofn.Ref, start time.Duration) (c course, err error) {
	trace := &simulate.Recorded{Of: []simulate.Function{{Ref: ref}}}
	for n := range int(stepRate * stepTime.Seconds()) {
		trace.Calls = append(trace.Calls, simulate.Call{At: time.Duration(n) * time.Second / stepRate, Duration: stepWork})
	}
	report, err := simulate.Run(ctx, simulate.Config{
		Trace: trace, ColdStart: simulate.Exactly(start), Length: stepTime + 2*time.Minute,
		Deploy: func(ref lofn.Ref) lofn.Function {
			return lofn.Function{Ref: ref, Spec: lofn.Spec{Labels: stepLabels()}}
		},
		Decided: func(at time.Duration, _ lofn.Ref, _, to int) {
			c.most = max(c.most, to)
			if c.enough == 0 && to >= stepNeeds {
				c.enough = at + start
			}
			if at > stepTime && to == 1 && c.back == 0 {
				c.back = at - stepTime
			}
		},
	})
	c.calls, c.failed = int(report.Total.Calls), int(report.Total.Calls-report.Total.Served)
	return c, err
}

// watchStep looks at the replicas until the step is over and one is left.
func (p *platform) watchStep(ctx context.Context, ref lofn.Ref, began time.Time) (c course) {
	for ctx.Err() == nil {
		status, err := p.Function(ctx, ref)
		passed := time.Since(began)
		switch {
		case err != nil:
		case c.enough == 0 && status.AvailableReplicas >= stepNeeds:
			c.enough = passed
		case passed > stepTime && status.Replicas == 1:
			c.back = passed - stepTime
			return c
		}
		c.most = max(c.most, int(status.Replicas))
		_ = pause(ctx, 10*time.Millisecond)
	}
	return c
}

// seconds is a time, or that it never came.
func seconds(d time.Duration) string {
	if d == 0 {
		return "never"
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
