// Command bench measures the platform on this machine and prints Markdown
// tables: what the gateway adds to a call, what a proxy adds that does nothing
// else, how long a cold call and deployments take, and what functions cost in
// memory. Nothing is compared across runs or machines: every ratio is between
// numbers of the same run. See README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type options struct {
	lofn        string
	duration    time.Duration
	rounds      int
	connections int
	functions   int
	coldCalls   int
}

func main() {
	var o options
	flag.StringVar(&o.lofn, "lofn", "bin/lofn", "the binary to measure")
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "how long each target is loaded in each round")
	flag.IntVar(&o.rounds, "rounds", 3, "how often all targets are loaded in turn; the median round counts")
	flag.IntVar(&o.connections, "connections", 16, "connections, each with one call at a time")
	flag.IntVar(&o.functions, "functions", 100, "how many functions to deploy")
	flag.IntVar(&o.coldCalls, "cold", 20, "how many cold calls to make")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run goes through the measurements, the quiet ones first.
func run(ctx context.Context, o options) error {
	p, err := startPlatform(ctx, o.lofn)
	if err != nil {
		return err
	}
	defer p.stop()
	describeMachine(p)
	for _, measure := range []func(context.Context, *platform, options) error{measureCalls, measureColdCalls, measureDeployments} {
		if err := measure(ctx, p, o); err != nil {
			return err
		}
	}
	return nil
}
