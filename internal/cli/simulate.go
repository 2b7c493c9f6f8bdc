package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/internal/simulate"
)

func (p *program) simulateCommand() *cobra.Command {
	s := simulation{p: p}
	cmd := &cobra.Command{
		Use:   "simulate TRACE",
		Short: "Try out scaling settings on a trace of calls, in virtual time",
		Long: `Replays calls through the scaler and the pool of this lofn, without a platform and
in virtual time, and says what callers and machines would have felt: cold starts,
waits, and how many replicas and how much memory for how long. A day of calls takes
seconds to minutes.

TRACE is a file with a line for each call, in the order in which they came:

  arrival,function,duration
  0.25,hello,0.1
  3.5,resize,1.2s

Arrivals are seconds from the start, or times such as 2026-03-02T09:15:00Z; durations
are seconds, or have a unit. A fourth column, memory, may say what a replica takes.
Or TRACE is a kind of load that is made up, by chance but the same for each --seed:

  steady    at the same rate
  diurnal   most at noon, a tenth of that at midnight, when it begins
  bursty    with bursts, for each function at times of its own
  step      nothing, then the rate, then nothing
  azure     many functions of which few have most calls, as in the published trace of
            Azure Functions (Shahrad et al., "Serverless in the Wild", USENIX ATC 2020)

Settings are the labels of functions; com.openfaas.scale. may be left out. They come
from a stack file (-f) and --label. With --compare several settings are tried on the
same calls: a name, and what is different, separated by commas.`,
		Example: `  lofn simulate bursty --rate 20 --label zero=true --label zero-duration=2m
  lofn simulate calls.csv -f stack.yml --cold-start p50=120ms,p99=900ms --plot week.svg
  lofn simulate diurnal --rate 50 --max-inflight 4 --label type=capacity --label target=4 --label max=50 \
      --compare always='min=20' --compare short='zero=true,zero-duration=1m' --compare long='zero=true,zero-duration=30m'
  lofn simulate azure --functions 10000 --rate 200 --nodes 100 --node-memory 16Gi --label zero=true --per-function 10`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("give a file with a trace, or a kind of load: %s", strings.Join(simulate.Kinds(), ", "))
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return simulate.Kinds(), cobra.ShellCompDirectiveDefault
		},
		RunE: s.run,
	}
	s.add(cmd)
	return cmd
}

// simulation is one run of the command.
type simulation struct {
	p   *program
	out output

	load                         simulate.Load
	duration, coldStart          string
	writeTrace, plot             string
	sort                         bool
	start                        string
	labels, annotations, compare []string
	inflight                     int
	memory, cpu                  string
	nodes                        int
	nodeMemory, nodeCPU          string
	length                       time.Duration
	perFunction                  int
}

func (s *simulation) add(cmd *cobra.Command) {
	s.out.add(cmd)
	flags := cmd.Flags()
	flags.IntVar(&s.load.Count, "functions", 0, "made-up load: number of functions (default: those of the stack file, or 1, azure: 100)")
	flags.Float64Var(&s.load.Rate, "rate", 0, "made-up load: calls per second of all functions together (default 10, azure: as published)")
	flags.StringVar(&s.duration, "duration", "", "made-up load: how long calls take, such as 250ms, 100ms-1s or p50=100ms,p99=1s (default the last, azure: as published)")
	flags.DurationVar(&s.length, "length", 0, "how long it lasts (default 1h, step 15m, diurnal and azure 24h); a trace from a file is not cut")
	flags.Uint64Var(&s.load.Seed, "seed", 1, "another number makes another outcome of chance")
	flags.DurationVar(&s.load.Every, "burst-every", 0, "bursty: time from one burst to the next (default 1m)")
	flags.DurationVar(&s.load.Burst, "burst-length", 0, "bursty: how long each lasts (default 5s)")
	flags.Float64Var(&s.load.Factor, "burst-factor", 0, "bursty: by how much there is more in a burst (default 10)")
	flags.BoolVar(&s.sort, "sort", false, "sort a trace that is not in order; it must fit into memory")
	flags.StringVar(&s.start, "start", "", "time at which the load begins, for lofn.dev/warm, such as 2026-03-02T00:00:00Z (default a Monday, 0:00)")
	flags.StringVar(&s.writeTrace, "write-trace", "", "write the trace to a file, too")
	flags.StringArrayVarP(&s.labels, "label", "l", nil, "label of all functions, NAME=VALUE; may be repeated")
	flags.StringArrayVar(&s.annotations, "annotation", nil, "annotation of all functions, NAME=VALUE; may be repeated")
	flags.IntVar(&s.inflight, "max-inflight", 0, "calls that a replica takes at a time (max_inflight); 0 is no limit")
	flags.StringArrayVar(&s.compare, "compare", nil, "NAME=SETTING,SETTING: one row of the table, with settings that are different; may be repeated")
	flags.StringVar(&s.coldStart, "cold-start", "100ms", "from the start of a replica to its first call, in the forms of --duration")
	flags.StringVar(&s.memory, "memory", "128Mi", "memory of a replica for which nothing else says so")
	flags.StringVar(&s.cpu, "cpu", "", "CPU of a replica for which nothing else says so, such as 100m")
	flags.IntVar(&s.nodes, "nodes", 0, "number of machines; 0 is room for everything")
	flags.StringVar(&s.nodeMemory, "node-memory", "", "memory of each machine for replicas, such as 16Gi")
	flags.StringVar(&s.nodeCPU, "node-cpu", "", "CPU of each machine for replicas, such as 8")
	flags.IntVar(&s.perFunction, "per-function", 0, "show the so many functions with the most calls, each by itself")
	flags.StringVar(&s.plot, "plot", "", "draw calls, replicas and waiting calls over time into an SVG file")
	_ = cmd.MarkFlagFilename("plot", "svg")
	_ = cmd.MarkFlagFilename("write-trace", "csv")
}

func (s *simulation) run(cmd *cobra.Command, args []string) error {
	asJSON, err := s.out.wantsJSON()
	if err != nil {
		return err
	}
	stacked, err := s.stacked(cmd)
	if err != nil {
		return err
	}
	policies, err := s.policies(stacked)
	if err != nil {
		return err
	}
	config, err := s.config()
	if err != nil {
		return err
	}
	if config.Trace, err = s.trace(cmd, args[0], stacked); err != nil {
		return err
	}
	if err := s.keepTrace(config.Trace); err != nil {
		return err
	}
	s.mention(config.Trace, stacked)
	outcomes, err := s.simulate(cmd.Context(), config, policies)
	if err != nil {
		return err
	}
	if s.plot != "" {
		if err := os.WriteFile(s.plot, drawOutcomes(outcomes), 0o644); err != nil {
			return fmt.Errorf("--plot: %w", err)
		}
	}
	if asJSON {
		return s.p.outJSON(outcomes)
	}
	return s.print(outcomes)
}

// someMonday is when loads that are made up begin.
var someMonday = time.Date(2024, time.January, 1, 0, 0, 0, 0, time.Local)

// config is what all policies have in common.
func (s *simulation) config() (simulate.Config, error) {
	c := simulate.Config{Seed: s.load.Seed, Length: s.length, Warm: warmWindow, Nodes: simulate.Nodes{Count: s.nodes}}
	var err error
	if c.ColdStart, err = simulate.ParseSpread(s.coldStart); err != nil {
		return c, fmt.Errorf("--cold-start: %w", err)
	}
	c.Start = someMonday
	if s.start != "" {
		if c.Start, err = time.Parse(time.RFC3339, s.start); err != nil {
			return c, fmt.Errorf("--start: %q is not a time: use one such as 2026-03-02T00:00:00Z", s.start)
		}
	}
	if s.nodes < 0 {
		return c, fmt.Errorf("--nodes: %d is not a number of machines: use 0 for room for everything, or more", s.nodes)
	}
	if s.nodes == 0 && s.nodeMemory+s.nodeCPU != "" {
		return c, fmt.Errorf("--node-memory and --node-cpu need --nodes, the number of machines")
	}
	if c.Memory, c.MilliCPU, err = amounts("--memory", s.memory, "--cpu", s.cpu); err != nil {
		return c, err
	}
	c.Nodes.Memory, c.Nodes.MilliCPU, err = amounts("--node-memory", s.nodeMemory, "--node-cpu", s.nodeCPU)
	return c, err
}

func amounts(memoryFlag, memory, cpuFlag, cpu string) (bytes, milli int64, err error) {
	r := &lofn.Resources{Memory: memory, CPU: cpu}
	if bytes, err = r.MemoryBytes(); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", memoryFlag, err)
	}
	if milli, err = r.MilliCPU(); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", cpuFlag, err)
	}
	return bytes, milli, nil
}

// trace is the one that the argument names.
func (s *simulation) trace(cmd *cobra.Command, name string, stacked deployments) (simulate.Trace, error) {
	if !slices.Contains(simulate.Kinds(), name) {
		return s.open(cmd, name)
	}
	l := s.load
	l.Kind, l.Length = name, s.length
	if l.Count == 0 {
		l.Functions = stacked.refs()
	}
	if s.duration != "" {
		var err error
		if l.Duration, err = simulate.ParseSpread(s.duration); err != nil {
			return nil, fmt.Errorf("--duration: %w", err)
		}
	}
	return simulate.Generate(l)
}

// open reads a trace from a file, of which nothing is left to choose.
func (s *simulation) open(cmd *cobra.Command, name string) (simulate.Trace, error) {
	t, err := simulate.OpenFile(name, s.sort)
	if lofn.CodeOf(err) == lofn.NotFound {
		err = fmt.Errorf("%w; a load that is made up is one of %s", err, strings.Join(simulate.Kinds(), ", "))
	}
	for _, flag := range []string{"functions", "rate", "duration", "burst-every", "burst-length", "burst-factor"} {
		if err == nil && cmd.Flags().Changed(flag) {
			err = fmt.Errorf("--%s is for loads that are made up, and %s says itself what is called", flag, name)
		}
	}
	return t, err
}

// keepTrace writes the trace where --write-trace says.
func (s *simulation) keepTrace(t simulate.Trace) error {
	if s.writeTrace == "" {
		return nil
	}
	file, err := os.OpenFile(s.writeTrace, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("--write-trace: %w", err)
	}
	if err = simulate.Write(file, t); err != nil {
		file.Close()
		return fmt.Errorf("--write-trace: %w", err)
	}
	return file.Close()
}

// mention says which functions have no entry in the stack file, for it may be a
// slip.
func (s *simulation) mention(t simulate.Trace, stacked deployments) {
	if stacked.file == "" {
		return
	}
	var missing []string
	for _, f := range t.Functions() {
		if _, ok := stacked.functions[f.Ref]; !ok {
			missing = append(missing, display(f.Ref))
		}
	}
	if len(missing) > 0 {
		s.p.notef("Not in %s, so only --label counts for them: %s\n", stacked.file, abbreviate(missing))
	}
}

// abbreviate lists no more names than one reads.
func abbreviate(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
