package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"lofn"
)

// coldFunctions is how many functions take turns: each has a second to be back
// at zero replicas at 200 calls per second.
const coldFunctions = 200

// coldRun is what became of cold calls that were made at a given rate.
type coldRun struct {
	mu     sync.Mutex
	times  []time.Duration
	failed []error
	took   time.Duration
}

func (r *coldRun) add(took time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failed = append(r.failed, err)
		return
	}
	r.times = append(r.times, took)
}

// sustainCold calls functions in turn, each while it has no replica, and scales
// it back to zero.
func (p *platform) sustainCold(ctx context.Context, o options) error {
	refs, _, err := p.deployMany(ctx, "sleeper", coldFunctions, map[string]string{lofn.LabelScaleMin: "0"})
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if err := p.Scale(ctx, ref, 0); err != nil {
			return err
		}
	}
	if err := p.sleep(ctx, refs[len(refs)-1]); err != nil {
		return err
	}
	serving, err := p.serving()
	if err != nil {
		return err
	}
	before, err := processorTimeOf(serving[len(serving)-1])
	if err != nil {
		return err
	}
	run, err := p.callInTurn(ctx, refs, o)
	if err != nil {
		return err
	}
	after, err := processorTimeOf(serving[len(serving)-1])
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if err := p.Remove(ctx, ref); err != nil {
			return err
		}
	}
	run.report(o, (after-before)/time.Duration(max(len(run.times), 1)))
	return errors.Join(run.failed[:min(len(run.failed), 3)]...)
}

// callInTurn makes cold calls at the rate asked for.
func (p *platform) callInTurn(ctx context.Context, refs []lofn.Ref, o options) (*coldRun, error) {
	asleep := make(chan lofn.Ref, len(refs))
	for _, ref := range refs {
		asleep <- ref
	}
	run := &coldRun{}
	var calls sync.WaitGroup
	defer calls.Wait()
	interval := time.Duration(float64(time.Second) / o.coldRate)
	began := time.Now()
	for due := began; due.Sub(began) < o.coldFor; due = due.Add(interval) {
		if err := pause(ctx, time.Until(due)); err != nil {
			return run, err
		}
		ref := <-asleep
		calls.Go(func() {
			run.add(p.callCold(ctx, ref, due))
			if err := p.sleep(ctx, ref); err != nil {
				run.add(0, err)
			}
			asleep <- ref
		})
	}
	calls.Wait()
	run.took = time.Since(began)
	return run, nil
}

func (r *coldRun) report(o options, each time.Duration) {
	heading("Cold calls, sustained", "%d functions, each called while it has no replica and then scaled back to zero through the API; %.0f such calls are due each second, for %s, and count from when they were due.", coldFunctions, o.coldRate, o.coldFor)
	table(1, [][]string{
		{"", ""},
		{"cold starts per second", fmt.Sprintf("%.0f", float64(len(r.times))/r.took.Seconds())},
		{"p50, p99", milli(quantile(r.times, 50)) + ", " + milli(quantile(r.times, 99))},
		{"p99 ÷ p50", fmt.Sprintf("%.1f", float64(quantile(r.times, 99))/float64(quantile(r.times, 50)))},
		{"processor time of the platform for each", milli(each)},
		{"failed", fmt.Sprint(len(r.failed))},
	})
}

// callCold calls a function, and returns how long after the call was due its
// answer was complete.
func (p *platform) callCold(ctx context.Context, ref lofn.Ref, due time.Time) (time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/function/"+ref.Name, nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", ref.Name, answer.Status)
	}
	return time.Since(due), err
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
