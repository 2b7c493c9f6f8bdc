package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lofn"
)

const (
	// backlogCalls is how many calls each function has, and backlogClients how
	// many clients submit them.
	backlogCalls, backlogClients = 20, 64
	// backlogReady is of how many functions one has a replica at the start.
	backlogReady = 5
	// hangTime is after which time a call fails that hangs.
	hangTime = time.Second
)

// The bad ones are two functions whose calls never succeed. They come back soon,
// so that they are in the way all the time.
var badOnes = []lofn.Deployment{
	{Service: "failing", Annotations: map[string]string{lofn.AnnotationRetryMinWait: "1s"}},
	{Service: "hanging", Annotations: map[string]string{lofn.AnnotationRetryMinWait: "1s"}, EnvVars: map[string]string{lofn.EnvTimeout: hangTime.String()}},
}

// badPaths are what is called of them.
var badPaths = []string{"/fail", "/sleep?for=1h"}

// measureBacklogs has calls of many functions submitted at once, and finds out
// when each function had its calls made: without the bad ones, and beside them.
func measureBacklogs(ctx context.Context, p *platform, o options) error {
	good, err := p.deployBacklogs(ctx, o.backlogs-len(badOnes))
	if err != nil {
		return err
	}
	// runs are those without the bad ones, and those beside them.
	var runs [2][]worked
	for round := range o.rounds {
		for turn := range runs {
			i := (round + turn) % len(runs)
			if err := p.putToSleep(ctx, good); err != nil {
				return err
			}
			w, err := p.workOff(ctx, good, i == 1)
			if err != nil {
				return err
			}
			runs[i] = append(runs[i], w)
		}
	}
	heading(fmt.Sprintf("%d functions with a backlog at once", o.backlogs), "%d calls of each function, submitted in random order by %d clients; one function in %d has a replica, the others none. Two of them never succeed: the calls of one are answered with 500, those of the other hang until they are cut off after %s, and both are tried again after 1 s, 2 s and so on. Runs without these two and beside them, medians of %d rounds, in turn. Times are those of the other functions, since the first submit.",
		backlogCalls, backlogClients, backlogReady, hangTime, o.rounds)
	reportBacklogs(runs[0], runs[1])
	return nil
}

func reportBacklogs(without, beside []worked) {
	rows := [][]string{{"", "without", "beside them", "ratio"}}
	row := func(name string, of func(worked) float64, format string) {
		ratios := make([]float64, len(beside))
		for i := range ratios {
			ratios[i] = of(beside[i]) / of(without[i])
		}
		rows = append(rows, []string{name, fmt.Sprintf(format, medianOf(without, of)), fmt.Sprintf(format, medianOf(beside, of)), spread(ratios)})
	}
	row("all calls done after", func(w worked) float64 { return slices.Max(w.last).Seconds() }, "%.2f s")
	for _, each := range []struct {
		name string
		of   func(worked) []time.Duration
	}{{"first", func(w worked) []time.Duration { return w.first }}, {"last", func(w worked) []time.Duration { return w.last }}} {
		for _, percent := range []int{50, 99} {
			row(fmt.Sprintf("a function's %s call done after, p%d", each.name, percent), func(w worked) float64 { return quantile(each.of(w), percent).Seconds() }, "%.2f s")
		}
		row("the same, slowest function", func(w worked) float64 { return slices.Max(each.of(w)).Seconds() }, "%.2f s")
	}
	row("a function's last call, slowest ÷ median", func(w worked) float64 { return slices.Max(w.last).Seconds() / quantile(w.last, 50).Seconds() }, "%.2f")
	for i, d := range badOnes {
		rows = append(rows, []string{"attempts meanwhile, " + d.Service, "", fmt.Sprintf("%.0f", medianOf(beside, func(w worked) float64 { return float64(w.bad[i]) })), ""})
	}
	table(1, rows)
}

// deployBacklogs deploys so many functions, and the bad ones.
func (p *platform) deployBacklogs(ctx context.Context, n int) ([]lofn.Ref, error) {
	for _, d := range badOnes {
		d.Namespace, d.Image = lofn.DefaultNamespace, p.image
		if err := p.Create(ctx, d); err != nil {
			return nil, err
		}
	}
	good, _, err := p.deployMany(ctx, "backlog", n, map[string]string{lofn.LabelScaleMin: "0"})
	return good, err
}

// putToSleep has as many replicas as there are to be at the start.
func (p *platform) putToSleep(ctx context.Context, refs []lofn.Ref) error {
	replicas := func(i int) uint64 {
		if i%backlogReady == 0 {
			return 1
		}
		return 0
	}
	for i, ref := range refs {
		if err := p.Scale(ctx, ref, replicas(i)); err != nil {
			return err
		}
	}
	for i, ref := range refs {
		if _, err := p.ready(ctx, ref, replicas(i)); err != nil {
			return err
		}
	}
	return nil
}

// worked is how the functions were served.
type worked struct {
	first, last []time.Duration // of each function
	bad         []int           // attempts at the calls of each bad one
}

// workOff submits the calls, and waits until those of the good functions are
// done. Those of the bad ones are called off then.
func (p *platform) workOff(ctx context.Context, good []lofn.Ref, beside bool) (w worked, err error) {
	start := time.Now()
	if err := p.submitBacklogs(ctx, good, beside); err != nil {
		return w, err
	}
	isGood := make(map[string]bool, len(good))
	for _, ref := range good {
		isGood[ref.Host()] = true
	}
	if _, err := p.idle(ctx, func(function string) bool { return isGood[function] }); err != nil {
		return w, err
	}
	if beside {
		if w.bad, err = p.callOffBad(ctx); err != nil {
			return w, err
		}
	}
	for _, ref := range good {
		calls, err := p.callsSince(ctx, ref, start)
		if err != nil {
			return w, err
		}
		first, last, err := ends(calls, start)
		if err != nil {
			return w, fmt.Errorf("%s: %w", ref, err)
		}
		w.first, w.last = append(w.first, first), append(w.last, last)
	}
	return w, nil
}

// submitBacklogs submits the calls of all functions in random order.
func (p *platform) submitBacklogs(ctx context.Context, good []lofn.Ref, beside bool) error {
	var urls []string
	for range backlogCalls {
		for _, ref := range good {
			urls = append(urls, p.url+"/async-function/"+ref.Name)
		}
		for i, d := range badOnes {
			if beside {
				urls = append(urls, p.url+"/async-function/"+d.Service+badPaths[i])
			}
		}
	}
	rand.Shuffle(len(urls), func(i, j int) { urls[i], urls[j] = urls[j], urls[i] })
	transport := &http.Transport{MaxIdleConnsPerHost: backlogClients}
	defer transport.CloseIdleConnections()
	errs := make([]error, backlogClients)
	var next atomic.Int64
	var work sync.WaitGroup
	for client := range backlogClients {
		work.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(urls)) && errs[client] == nil; i = next.Add(1) - 1 {
				_, errs[client] = submitOne(ctx, transport, urls[i])
			}
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

// callsSince are the calls of a function that were accepted since then.
func (p *platform) callsSince(ctx context.Context, ref lofn.Ref, start time.Time) ([]lofn.CallStatus, error) {
	calls, err := p.Calls(ctx, lofn.CallQuery{Namespace: ref.Namespace, Name: ref.Name, Limit: 10 * backlogCalls})
	return slices.DeleteFunc(calls, func(c lofn.CallStatus) bool { return c.AcceptedAt.Before(start) }), err
}

// ends is when the first and the last of a function's calls was done.
func ends(calls []lofn.CallStatus, start time.Time) (first, last time.Duration, err error) {
	if len(calls) != backlogCalls {
		return 0, 0, fmt.Errorf("%d of %d calls are known", len(calls), backlogCalls)
	}
	for i, c := range calls {
		if c.State != lofn.CallSucceeded {
			return 0, 0, fmt.Errorf("call %s is %s: %s", c.ID, c.State, c.Reason)
		}
		d := c.EndedAt.Sub(start)
		if i == 0 || d < first {
			first = d
		}
		last = max(last, d)
	}
	return first, last, nil
}

// callOffBad calls off the calls of the bad ones, and returns how many attempts
// there were at them.
func (p *platform) callOffBad(ctx context.Context) (attempts []int, err error) {
	for _, d := range badOnes {
		ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: d.Service}
		calls, err := p.Calls(ctx, lofn.CallQuery{Namespace: ref.Namespace, Name: ref.Name, States: []lofn.CallState{lofn.CallQueued, lofn.CallRunning}, Limit: 10 * backlogCalls})
		if err != nil {
			return nil, err
		}
		sum := 0
		for _, c := range calls {
			sum += c.Attempts
			if _, err := p.CancelCall(ctx, c.ID); err != nil && lofn.CodeOf(err) != lofn.Conflict {
				return nil, err
			}
		}
		attempts = append(attempts, sum)
		if _, err := p.idle(ctx, func(function string) bool { return function == ref.Host() }); err != nil {
			return nil, err
		}
	}
	return attempts, nil
}
