package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lofn"
	"lofn/bench/load"
)

// phase is something that is done to the platform while it serves.
type phase struct {
	name, title string
	// method is GET where the platform may repeat a call whose replica died,
	// which it may not with a POST.
	method string
	// replicas is how many there are when it begins.
	replicas uint64
	// disturb goes on until ctx ends, and says what it did.
	disturb func(context.Context, *platform, lofn.Deployment) (did string, err error)
}

var phases = []phase{
	{"steady", "nothing", "POST", 1, leaveAlone},
	{"redeploy", "a redeployment every 2 s", "POST", 1, redeploy},
	{"scale", "4 replicas, then 1, every second", "POST", 1, scaleUpAndDown},
	{"kill", "`kill -9` of one of 3 replicas every second", "GET", 3, killReplicas},
	{"slow", fmt.Sprintf("%d clients that send a byte of their head every second", slowClients), "POST", 1, callSlowly},
	{"upgrade", "a new process of the platform every 5 s, by SIGHUP", "POST", 1, upgrade},
}

const usualPhases = "steady,redeploy,scale,kill,upgrade,slow"

const (
	// changeConnections is how many connections carry the steady load.
	changeConnections = 64
	// changeWork is how long a call takes, so that some are always under way.
	changeWork = 5 * time.Millisecond
)

// measureChange calls a function steadily while things change, and fails if a
// call did.
func measureChange(ctx context.Context, p *platform, o options) error {
	chosen, err := choose(phases, func(p phase) string { return p.name }, o.phases)
	if err != nil {
		return fmt.Errorf("-phases: %w", err)
	}
	return p.endureAll(ctx, chosen, o)
}

// endureAll reports all phases, and fails if a call did in one of them.
func (p *platform) endureAll(ctx context.Context, chosen []phase, o options) error {
	victim := lofn.Deployment{Service: "change", Namespace: lofn.DefaultNamespace, Image: p.image}
	if err := p.Create(ctx, victim); err != nil {
		return err
	}
	rows := [][]string{{"Meanwhile", "done", "calls", "failed", "calls/s", "p50", "p99", "connections reopened"}}
	var all load.Result
	var failures []string
	for _, phase := range chosen {
		r, did, err := p.endure(ctx, phase, victim, o)
		if err != nil {
			return fmt.Errorf("%s: %w", phase.name, err)
		}
		rows = append(rows, []string{phase.title, did, fmt.Sprint(r.Total()), fmt.Sprint(r.Failed), fmt.Sprintf("%.0f", r.Rate()), micro(r.P50), micro(r.P99), fmt.Sprint(r.Reopened)})
		failures = append(failures, describeFailures(phase, r)...)
		if r.Failed > 0 {
			failures = append(failures, p.complaints(ctx, victim)...)
		}
		all.Calls, all.Failed = all.Calls+r.Calls, all.Failed+r.Failed
		all.Examples = append(all.Examples, r.Examples...)
	}
	heading(p.title("Calls while things change"), "%.0f calls/s of %s are due over %d kept connections, for %s each; the client tries nothing twice. A connection is reopened when the server closed it while there was no call on it.", o.rate, changeWork, changeConnections, o.phase)
	table(2, append(rows, []string{"all", "", fmt.Sprint(all.Total()), fmt.Sprint(all.Failed), "", "", "", ""}))
	for _, f := range failures {
		fmt.Println(f)
	}
	return all.Err()
}

// endure loads the function while it is disturbed.
func (p *platform) endure(ctx context.Context, phase phase, victim lofn.Deployment, o options) (r load.Result, did string, err error) {
	ref := lofn.Ref{Namespace: victim.Namespace, Name: victim.Service}
	if err := p.Scale(ctx, ref, phase.replicas); err != nil {
		return r, "", err
	}
	if _, err := p.ready(ctx, ref, phase.replicas); err != nil {
		return r, "", err
	}
	target := load.Target{Name: phase.name, Network: "tcp", Address: p.address, Method: phase.method, Path: "/function/" + ref.Name + "/sleep?for=" + changeWork.String()}
	if phase.method == "POST" {
		target.Body = []byte("a body")
	}
	disturbed, cancel := context.WithCancel(ctx)
	defer cancel()
	var disturbance error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		did, disturbance = phase.disturb(disturbed, p, victim)
	}()
	r, err = load.Run(ctx, target, load.Plan{Connections: changeConnections, Rate: o.rate, For: o.phase})
	cancel()
	<-ended
	if err == nil {
		err = disturbance
	}
	return r, did, err
}

// describeFailures returns lines of Markdown.
func describeFailures(phase phase, r load.Result) []string {
	var lines []string
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		lines = append(lines, fmt.Sprintf("- %s: %d × %s", phase.name, r.Reasons[reason], reason))
	}
	for _, example := range r.Examples {
		lines = append(lines, fmt.Sprintf("  - for example: %s", strings.TrimSpace(example)))
	}
	return lines
}

// mostComplaints bounds them, should every call have one.
const mostComplaints = 10

// complaints are the last lines that a function's watchdog or the platform has
// written of errors, as Markdown.
func (p *platform) complaints(ctx context.Context, d lofn.Deployment) (lines []string) {
	for m, err := range p.Logs(ctx, lofn.LogQuery{Function: lofn.Ref{Namespace: d.Namespace, Name: d.Service}}) {
		if err != nil {
			return append(lines, "  - its log cannot be read: "+err.Error())
		}
		if strings.Contains(m.Text, " error") || strings.HasPrefix(m.Text, "lofn: ") {
			lines = append(lines, fmt.Sprintf("  - %s %s: %s", m.Timestamp.Format(time.StampMicro), m.Instance, m.Text))
		}
	}
	return lines[max(0, len(lines)-mostComplaints):]
}
