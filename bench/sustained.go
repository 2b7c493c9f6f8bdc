package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"lofn"
)

// Functions take turns so that each has coldTurn to be at zero again, to which
// it goes by itself after coldIdle without a call.
const (
	coldTurn = 4 * time.Second
	coldIdle = time.Second
)

// coldRun is what became of cold calls that were made at a given rate.
type coldRun struct {
	mu     sync.Mutex
	times  []time.Duration
	failed []error
	took   time.Duration
	client *http.Client
	// started is how many replicas got ready meanwhile, each what the platform
	// used of the processors for one.
	started int
	each    time.Duration
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

// sustainCold calls functions in turn, each while it has no replica.
func (p *platform) sustainCold(ctx context.Context, o options) error {
	refs, _, err := p.deployMany(ctx, "sleeper", int(o.coldRate*coldTurn.Seconds()), map[string]string{
		lofn.LabelScaleMin: "0", lofn.LabelScaleZero: "true", lofn.LabelScaleZeroDuration: coldIdle.String(),
	})
	if err != nil {
		return err
	}
	run, err := p.callInTurn(ctx, refs, o)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if err := p.Remove(ctx, ref); err != nil {
			return err
		}
	}
	run.report(o, len(refs))
	return errors.Join(run.failed[:min(len(run.failed), 3)]...)
}

// callInTurn makes calls at the rate asked for, and counts how many of them
// started a replica.
func (p *platform) callInTurn(ctx context.Context, refs []lofn.Ref, o options) (*coldRun, error) {
	run := &coldRun{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}}
	before, err := p.effort(ctx)
	if err != nil {
		return run, err
	}
	interval := time.Duration(float64(time.Second) / o.coldRate)
	began := time.Now()
	var calls sync.WaitGroup
	for n := 0; time.Duration(n)*interval < o.coldFor; n++ {
		due := began.Add(time.Duration(n) * interval)
		if err := pause(ctx, time.Until(due)); err != nil {
			return run, err
		}
		calls.Go(func() { run.add(run.call(ctx, p.url, refs[n%len(refs)], due)) })
	}
	calls.Wait()
	run.took = time.Since(began)
	after, err := p.effort(ctx)
	run.started, run.each = after.starts-before.starts, (after.processor-before.processor)/time.Duration(max(after.starts-before.starts, 1))
	return run, err
}

// effort is what a platform has done since its start.
type effort struct {
	starts    int
	processor time.Duration
}

func (p *platform) effort(ctx context.Context) (e effort, err error) {
	serving, err := p.serving()
	if err != nil {
		return e, err
	}
	if e.processor, err = processorTimeOf(serving[len(serving)-1]); err != nil {
		return e, err
	}
	text, err := p.allMetrics(ctx)
	if err != nil {
		return e, err
	}
	e.starts, err = countStarts(strings.NewReader(text))
	return e, err
}

// allMetrics returns the platform's metrics as it has them.
func (p *platform) allMetrics(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.metrics+"/metrics", nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

// metric returns the value of one, which has the name and labels.
func (p *platform) metric(ctx context.Context, name string) (float64, error) {
	text, err := p.allMetrics(ctx)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("the platform has no metric %s", name)
}

// countStarts adds up how many replicas of all functions got ready.
func countStarts(metrics io.Reader) (sum int, err error) {
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if !strings.HasPrefix(name, "lofn_cold_start_seconds_count{") || !strings.Contains(name, `part="total"`) {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		sum += n
	}
	return sum, lines.Err()
}

func (r *coldRun) report(o options, functions int) {
	heading("Cold calls, sustained", "%d functions that go to zero by themselves after %s without a call, called in turn; %.0f calls are due each second, for %s, and count from when they were due.", functions, coldIdle, o.coldRate, o.coldFor)
	table(1, [][]string{
		{"", ""},
		{"calls answered, replicas started", fmt.Sprintf("%d, %d", len(r.times), r.started)},
		{"cold starts per second", fmt.Sprintf("%.0f", float64(r.started)/r.took.Seconds())},
		{"p50, p99", milli(quantile(r.times, 50)) + ", " + milli(quantile(r.times, 99))},
		{"p99 ÷ p50", fmt.Sprintf("%.1f", float64(quantile(r.times, 99))/float64(quantile(r.times, 50)))},
		{"processor time of the platform for each", milli(r.each)},
		{"failed", fmt.Sprint(len(r.failed))},
	})
}

// call calls a function, and returns how long after the call was due its answer
// was complete.
func (r *coldRun) call(ctx context.Context, url string, ref lofn.Ref, due time.Time) (time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/function/"+ref.Name, nil)
	if err != nil {
		return 0, err
	}
	answer, err := r.client.Do(request)
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
