package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"lofn"
	"lofn/client"
)

const (
	// A function is looked at after the shortest of these, then less and less
	// often up to the longest.
	shortestLook, longestLook = 20 * time.Millisecond, 500 * time.Millisecond
	// hopeless is the number of restarts after which a function that has no
	// ready instance is given up.
	hopeless = 2
	// lastLines is how much of its log is shown then.
	lastLines = 10
	// seldom is the pause between two lines that say how far a start is, where
	// there is no terminal to draw them over each other.
	seldom = 5 * time.Second
)

// awaitAll waits until the functions are ready, prints for each that it is or
// why it is not, and fails if one is not. The time for it begins anew whenever
// there is progress.
func (d *deployFlags) awaitAll(ctx context.Context, c *client.Client, refs []lofn.Ref) error {
	start := time.Now()
	limited, extend, cancel := d.patience(ctx)
	defer cancel()
	board := d.p.newBoard(false)
	defer board.close()
	var failed []string
	for _, ref := range refs {
		task := board.begin(display(ref))
		status, err := awaitFunction(limited, c, ref, func(doing string) {
			extend()
			task.show(doing)
		})
		switch {
		case err == nil:
			task.end("Ready: %s (%.2fs)", display(ref), time.Since(start).Seconds())
			d.p.warnLimits(ctx, c, ref, status)
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			task.leave(func(*program) {})
			failed = append(failed, display(ref))
			d.p.notef("%s: not ready after %.1fs: %v\n", display(ref), time.Since(start).Seconds(), err)
			d.p.showLastLines(ctx, c, ref)
		}
	}
	if len(failed) > 0 {
		return &undone{failed, "did not get ready"}
	}
	return nil
}

// patience returns a context that ends when so much time has passed without
// progress as the flag allows; extend says that there was some.
func (d *deployFlags) patience(ctx context.Context) (limited context.Context, extend, cancel func()) {
	limited, end := context.WithCancel(ctx)
	timer := time.AfterFunc(d.timeout, end)
	return limited, func() { timer.Reset(d.timeout) }, func() {
		timer.Stop()
		end()
	}
}

const (
	// limitsPrefix begins the line that the platform writes into a function's
	// log, before anything else of the instance, if it cannot limit it.
	limitsPrefix = "lofn: the limits for "
	// firstLines is how much of an instance's log is searched for it.
	firstLines = 20
)

// warnLimits says if the limits of what was deployed are not enforced: the
// platform tells it in the function's log only.
func (p *program) warnLimits(ctx context.Context, c *client.Client, ref lofn.Ref, status lofn.FunctionStatus) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	for _, instance := range newest(status) {
		lines := 0
		for line, err := range c.Logs(ctx, lofn.LogQuery{Function: ref, Instance: instance.ID}) {
			if lines++; err != nil || lines > firstLines {
				break
			}
			if text, ok := strings.CutPrefix(line.Text, "lofn: "); ok && strings.HasPrefix(line.Text, limitsPrefix) {
				p.notef("warning: %s: %s\n", display(ref), text)
				return
			}
		}
	}
}

// awaitFunction returns when what was deployed last is ready, or an error that
// says why it does not get there. What an instance is doing until then it shows.
func awaitFunction(ctx context.Context, c *client.Client, ref lofn.Ref, show func(doing string)) (lofn.FunctionStatus, error) {
	reason, doing := "the gateway did not say how it is", ""
	for look := shortestLook; ; look = min(2*look, longestLook) {
		status, err := c.Function(ctx, ref)
		switch {
		case ctx.Err() != nil:
			return status, errors.New(reason)
		case err != nil:
			return status, err
		}
		progress := progressOf(status)
		if progress.ready {
			return status, nil
		}
		if progress.doing != "" && progress.doing != doing {
			doing = progress.doing
			show(doing)
		}
		reason = progress.reason
		if progress.hopeless {
			return status, errors.New(reason)
		}
		if !pause(ctx, look) {
			return status, errors.New(reason)
		}
	}
}

// readiness is how far a deployment got.
type readiness struct {
	ready, hopeless bool
	// reason says why it is not ready, and doing what an instance is doing about
	// it, if that is known.
	reason, doing string
}

// progressOf looks at the instances of the newest generation: those of older
// ones serve on until it is ready.
func progressOf(status lofn.FunctionStatus) readiness {
	if status.Replicas == 0 {
		return readiness{ready: true}
	}
	if status.Generation == 0 && len(status.Instances) == 0 {
		// A gateway that knows no generations.
		return readiness{ready: status.AvailableReplicas > 0, reason: notReady(status)}
	}
	var r readiness
	ready := uint64(0)
	for _, instance := range newest(status) {
		if instance.State == lofn.Ready {
			ready++
			continue
		}
		if instance.Reason != "" {
			r.reason = fmt.Sprintf("%s: %s", instance.State, instance.Reason)
		}
		if instance.State == lofn.Starting {
			r.doing = cmp.Or(instance.Reason, r.doing)
		}
		if instance.State == lofn.Failed && instance.Restarts >= hopeless {
			r.hopeless = true
			r.reason += fmt.Sprintf(" (restarted %d times)", instance.Restarts)
		}
	}
	r.ready = ready >= status.Replicas
	r.hopeless = r.hopeless && ready == 0
	if r.reason == "" {
		r.reason = fmt.Sprintf("%d of %d instances are ready", ready, status.Replicas)
	}
	return r
}

// newest are the instances of what was deployed last.
func newest(status lofn.FunctionStatus) []lofn.Replica {
	generation := status.Generation
	if generation == 0 {
		for _, instance := range status.Instances {
			generation = max(generation, instance.Generation)
		}
	}
	var instances []lofn.Replica
	for _, instance := range status.Instances {
		if instance.Generation == generation {
			instances = append(instances, instance)
		}
	}
	return instances
}

// showLastLines prints the end of a function's log: where a function does not
// start, the cause is most often there.
func (p *program) showLastLines(ctx context.Context, c *client.Client, ref lofn.Ref) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	for line, err := range c.Logs(ctx, lofn.LogQuery{Function: ref, Tail: lastLines}) {
		if err != nil {
			break
		}
		p.notef("%s | %s\n", display(ref), line.Text)
	}
	p.notef("the platform goes on trying; see \"lofn describe %s\" and \"lofn logs %s\"\n", display(ref), display(ref))
}
