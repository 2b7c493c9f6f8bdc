// Command bench measures the platform on this machine and prints Markdown
// tables: what the gateway adds to a call, what a proxy adds that does nothing
// else, what streams, overload, cold calls, deployments and thousands of
// functions cost, and whether a call is lost while things change. Nothing is
// compared across runs or machines: every ratio is between numbers of the same
// run. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	lofn      string
	only      string
	duration  time.Duration
	rounds    int
	gibibytes int
	functions int
	rest      time.Duration
	deploy    int
	coldCalls int
	coldRate  float64
	coldFor   time.Duration
	phases    string
	phase     time.Duration
	rate      float64

	asyncGiB, backlogs, crashCalls, kills int

	containers int
}

// section is one measurement.
type section struct {
	name    string
	measure func(context.Context, *platform, options) error
	// apart has it made in namespaces of its own, where it starts what it needs
	// itself and is given no platform.
	apart bool
}

// sections are in their order, the quiet ones first. The last two are
// questions of their own, which make bench-change and make bench-crashes ask.
var sections = []section{
	{name: "calls", measure: measureCalls},
	{name: "latency", measure: measureLatency},
	{name: "streams", measure: measureStreams},
	{name: "overload", measure: measureOverload},
	{name: "bodies", measure: alone(measureBodies)},
	{name: "async", measure: alone(measureAsync)},
	{name: "backlogs", measure: alone(measureBacklogs)},
	{name: "cold", measure: measureCold},
	{name: "herd", measure: measureHerd},
	{name: "step", measure: measureStep},
	{name: "functions", measure: measureManyFunctions},
	{name: "deployments", measure: measureDeployments},
	{name: "containers", measure: contained(calledContainers), apart: true},
	{name: "containercold", measure: contained(measureContainerCold), apart: true},
	{name: "containermany", measure: contained(measureManyContainers), apart: true},
	{name: "containerchange", measure: contained(measureContainerChange), apart: true},
	{name: "change", measure: measureChange},
	{name: "crashes", measure: alone(measureCrashes)},
}

const everyday = "calls,latency,streams,overload,bodies,async,backlogs,cold,herd,step,functions,deployments,containers,containercold,containermany,containerchange"

func main() {
	var o options
	flag.StringVar(&o.lofn, "lofn", "bin/lofn", "the binary to measure")
	flag.StringVar(&o.only, "only", everyday, "which measurements to make; there are change and crashes too")
	flag.DurationVar(&o.duration, "duration", 1500*time.Millisecond, "how long each target is loaded in each round")
	flag.IntVar(&o.rounds, "rounds", 5, "how often all targets are loaded in turn")
	flag.IntVar(&o.gibibytes, "gib", 1, "streams: how many GiB to send, and to receive")
	flag.IntVar(&o.functions, "functions", 200, "functions: how many to deploy, without a replica")
	flag.DurationVar(&o.rest, "rest", 0, "functions: how long to leave the platform alone before its memory is measured; garbage is collected after two minutes at most")
	flag.IntVar(&o.deploy, "deploy", 100, "deployments: how many functions to deploy, with a replica each")
	flag.IntVar(&o.coldCalls, "cold", 30, "cold: how many calls to make to each function")
	flag.Float64Var(&o.coldRate, "cold-rate", 200, "cold: sustained, how many cold starts are due each second")
	flag.DurationVar(&o.coldFor, "cold-for", 10*time.Second, "cold: sustained, for how long")
	flag.StringVar(&o.phases, "phases", usualPhases, "change: what to do to the platform under load")
	flag.DurationVar(&o.phase, "phase", 25*time.Second, "change: how long each phase is")
	flag.Float64Var(&o.rate, "rate", 3000, "change, functions: calls per second meanwhile")
	flag.IntVar(&o.asyncGiB, "async-gib", 2, "bodies: how many GiB the body of an asynchronous call has")
	flag.IntVar(&o.backlogs, "backlogs", 200, "backlogs: how many functions have calls to be made at once")
	flag.IntVar(&o.crashCalls, "crash-calls", 100_000, "crashes: how many calls are accepted")
	flag.IntVar(&o.kills, "kills", 20, "crashes: how often something is killed meanwhile")
	flag.IntVar(&o.containers, "containers", 200, "containermany: how many are to be up at once")
	flag.Parse()
	if flag.Arg(0) == serveJetStream {
		if err := runJetStream(flag.Arg(1), flag.Arg(2)); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		if !errors.Is(err, errTold) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

// errTold is of the program in its namespaces, which has said what it is.
var errTold = errors.New("a measurement in namespaces of its own failed")

func run(ctx context.Context, o options) error {
	chosen, err := choose(sections, func(s section) string { return s.name }, o.only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	together := slices.DeleteFunc(slices.Clone(chosen), func(s section) bool { return s.apart })
	if len(together) > 0 && !isApart() {
		if err := measureTogether(ctx, together, o); err != nil {
			return err
		}
	}
	return measureApart(ctx, slices.DeleteFunc(chosen, func(s section) bool { return !s.apart }), o)
}

// measureTogether makes measurements of one platform.
func measureTogether(ctx context.Context, chosen []section, o options) error {
	p, err := startPlatform(ctx, o.lofn)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := describeMachine(ctx, p); err != nil {
		return err
	}
	return measureAll(ctx, p, chosen, o)
}

// measureApart makes measurements in namespaces of this program's own, if there
// can be any.
func measureApart(ctx context.Context, chosen []section, o options) error {
	if len(chosen) == 0 {
		return nil
	}
	status, missing := apart(func() int {
		if err := measureAll(ctx, nil, chosen, o); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 1
		}
		return 0
	})
	if missing != "" {
		fmt.Printf("Containers are not measured: %s.\n\n", missing)
	}
	if status != 0 {
		return errTold
	}
	return nil
}

func measureAll(ctx context.Context, p *platform, chosen []section, o options) error {
	for _, s := range chosen {
		if err := s.measure(ctx, p, o); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// choose picks from all by a list of names, in the order of all.
func choose[T any](all []T, name func(T) string, list string) ([]T, error) {
	wanted := strings.Split(list, ",")
	var names []string
	var chosen []T
	for _, each := range all {
		names = append(names, name(each))
		if slices.Contains(wanted, name(each)) {
			chosen = append(chosen, each)
		}
	}
	for _, w := range wanted {
		if !slices.Contains(names, w) {
			return nil, fmt.Errorf("%q is unknown: choose from %s", w, strings.Join(names, ","))
		}
	}
	return chosen, nil
}
