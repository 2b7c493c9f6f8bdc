package simulate_test

import (
	"context"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/simulate"
)

var hello = lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "hello"}

// labelled deploys every function with the labels, NAME=VALUE, without their
// prefix, and with max_inflight if that is among them.
func labelled(settings ...string) func(lofn.Ref) lofn.Function {
	return func(lofn.Ref) lofn.Function {
		fn := lofn.Function{Spec: lofn.Spec{Labels: map[string]string{}, Env: map[string]string{}, Annotations: map[string]string{}}}
		for _, setting := range settings {
			switch name, value, _ := strings.Cut(setting, "="); {
			case name == lofn.EnvMaxInflight, name == lofn.EnvTimeout:
				fn.Spec.Env[name] = value
			case strings.HasPrefix(name, "lofn.dev/"):
				fn.Spec.Annotations[name] = value
			default:
				fn.Spec.Labels["com.openfaas.scale."+name] = value
			}
		}
		return fn
	}
}

// at are calls of hello that come then and take as long.
func at(duration time.Duration, times ...time.Duration) *simulate.Recorded {
	r := &simulate.Recorded{Of: []simulate.Function{{Ref: hello}}}
	for _, t := range times {
		r.Calls = append(r.Calls, simulate.Call{At: t, Duration: duration})
	}
	return r
}

func generate(t *testing.T, l simulate.Load) simulate.Trace {
	t.Helper()
	trace, err := simulate.Generate(l)
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

func run(t *testing.T, c simulate.Config) simulate.Report {
	t.Helper()
	r, err := simulate.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	conserved(t, c.Trace, r)
	return r
}

// conserved holds what is true of every simulation.
func conserved(t *testing.T, trace simulate.Trace, r simulate.Report) {
	t.Helper()
	var came uint64
	var busy time.Duration
	calls, err := trace.Open()
	if err != nil {
		t.Fatal(err)
	}
	for {
		call, err := calls.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		came++
		busy += call.Duration
	}
	if r.Total.Calls != came || r.Total.Served+r.Total.Refused+r.Total.Stranded != came {
		t.Errorf("of %d calls %d came; %d served, %d refused, %d stranded", came, r.Total.Calls, r.Total.Served, r.Total.Refused, r.Total.Stranded)
	}
	if served := r.Total.Served == came; served && math.Abs(r.Total.BusySeconds-busy.Seconds()) > 1e-3 {
		t.Errorf("replicas were busy for %v s, the calls take %v", r.Total.BusySeconds, busy.Seconds())
	}
	replicas, memory := 0.0, 0.0
	for _, f := range r.Functions {
		replicas += f.ReplicaSeconds
		memory += f.MemorySeconds
	}
	if !near(replicas, r.Total.ReplicaSeconds) || !near(memory, r.Total.MemorySeconds) {
		t.Errorf("the functions had %v s of replicas and %v of memory, all together %v and %v", replicas, memory, r.Total.ReplicaSeconds, r.Total.MemorySeconds)
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*max(a, b) }

func TestAColdCallWaitsForAStart(t *testing.T) {
	r := run(t, simulate.Config{
		Trace: at(time.Second, 10*time.Second, 20*time.Second), Deploy: labelled("zero=true", "zero-duration=1m"),
		ColdStart: simulate.Exactly(300 * time.Millisecond), Memory: 1 << 30, Length: 2 * time.Minute,
	})
	if got := r.Total; got.ColdStarts != 1 || got.Wait.Max != 300*time.Millisecond || got.Starts != 1 || got.PeakReplicas != 1 || got.PeakMemory != 1<<30 {
		t.Errorf("%+v, want one cold start of 300ms on one replica", got)
	}
	// From the first call at 10 s until a minute without one, from 21 s on. The
	// scaler looks once a second.
	if got := r.Total.ReplicaSeconds; got < 70.9 || got > 72.1 {
		t.Errorf("the replica lived for %v s, want 71 to 72", got)
	}
	if r.Length != 2*time.Minute {
		t.Errorf("it lasted %v", r.Length)
	}
}

func TestOneStartServesTheHerd(t *testing.T) {
	r := run(t, simulate.Config{
		Trace:  at(100*time.Millisecond, make([]time.Duration, 1000)...),
		Deploy: labelled("zero=true", "type=capacity", "target=100", "target-proportion=1"), ColdStart: simulate.Exactly(time.Second),
	})
	if got := r.Total; got.Served != 1000 || got.ColdStarts != 1000 || got.PeakReplicas != 10 || got.Wait.P50 > time.Second {
		t.Errorf("%+v, want all served by ten replicas after one start", got)
	}
}

func TestCallsBeyondTheQueueAreRefused(t *testing.T) {
	r := run(t, simulate.Config{
		Trace:     at(time.Second, make([]time.Duration, 20)...),
		Deploy:    labelled("zero=true", "max_inflight=1", "lofn.dev/max-queue=5", "exec_timeout=4s"),
		ColdStart: simulate.Exactly(100 * time.Millisecond),
	})
	// The five wait for 0.1, 1.1, ... 4.1 s.
	for _, timeout := range []string{"exec_timeout=0", "exec_timeout=1ms"} {
		r := run(t, simulate.Config{Trace: at(time.Second, 0), Deploy: labelled("zero=true", timeout), ColdStart: simulate.Exactly(time.Minute)})
		if r.Total.Late != 0 || r.Total.ColdStarts != 1 {
			t.Errorf("%s: %+v, want a call that was late for no wait", timeout, r.Total)
		}
	}
	if got := r.Total; got.Refused != 15 || got.Served != 5 || got.Late != 2 || got.Wait.Max != 4100*time.Millisecond {
		t.Errorf("%+v, want 15 refused and two of five too late", got)
	}
}

func TestReplicasNeedRoom(t *testing.T) {
	c := simulate.Config{
		Trace:  at(10*time.Second, make([]time.Duration, 40)...),
		Deploy: labelled("zero=true", "zero-duration=1m", "type=capacity", "target=1", "target-proportion=1", "max=40", "max_inflight=1"),
		Memory: 1 << 30, MilliCPU: 500, Nodes: simulate.Nodes{Count: 3, Memory: 4 << 30, MilliCPU: 1500},
		ColdStart: simulate.Exactly(time.Second),
	}
	r := run(t, c)
	if got := r.Total; got.PeakReplicas != 9 || got.Delayed == 0 || got.Served != 40 {
		t.Errorf("%+v, want nine replicas, for that is what the CPU is enough for", got)
	}
	c.Nodes.MilliCPU = 0
	if got := run(t, c).Total; got.PeakReplicas != 12 || got.PeakMemory != 12<<30 {
		t.Errorf("%+v, want as many replicas as there is memory for", got)
	}
	c.Memory = 5 << 30
	if _, err := simulate.Run(t.Context(), c); lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), "larger nodes") {
		t.Errorf("a replica that fits nowhere: %v", err)
	}
}

func TestCallsWithoutRoomAreStranded(t *testing.T) {
	trace := at(time.Second, time.Second)
	trace.Of = append(trace.Of, simulate.Function{Ref: lofn.Ref{Namespace: "dev", Name: "other"}})
	trace.Calls[0].Function = 1
	r := run(t, simulate.Config{
		Trace: trace,
		Deploy: func(ref lofn.Ref) lofn.Function {
			if ref == hello {
				return labelled("zero=false")(ref) // never leaves
			}
			return labelled("zero=true")(ref)
		},
		Memory: 1 << 30, Nodes: simulate.Nodes{Count: 1, Memory: 1 << 30},
	})
	if got := r.Total; got.Stranded != 1 || got.Delayed != 1 || got.PeakReplicas != 1 {
		t.Errorf("%+v, want a call that waits forever", got)
	}
}

func TestTheSameInputHasTheSameOutcome(t *testing.T) {
	for _, kind := range simulate.Kinds() {
		simulated := func(seed uint64) simulate.Report {
			return run(t, simulate.Config{
				Trace:  generate(t, simulate.Load{Kind: kind, Count: 20, Rate: 20, Length: 5 * time.Minute, Seed: seed}),
				Deploy: labelled("zero=true", "zero-duration=1m", "type=capacity", "target=2"), Seed: seed,
				ColdStart: simulate.LogNormal(100*time.Millisecond, time.Second),
			})
		}
		one, two, other := simulated(1), simulated(1), simulated(2)
		if !reflect.DeepEqual(one, two) {
			t.Errorf("%s: the same seed had two outcomes", kind)
		}
		if reflect.DeepEqual(one, other) {
			t.Errorf("%s: two seeds had the same outcome", kind)
		}
	}
}

func TestManyFunctionsOnManyNodes(t *testing.T) {
	length := 5 * time.Minute
	if testing.Short() {
		length = time.Minute
	}
	const memory = 256 << 20
	nodes := simulate.Nodes{Count: 100, Memory: 1 << 30}
	r := run(t, simulate.Config{
		Trace:  generate(t, simulate.Load{Kind: simulate.KindAzure, Count: 10_000, Rate: 200, Length: length, Seed: 1}),
		Deploy: labelled("zero=true", "zero-duration=2m"), Memory: memory, Nodes: nodes,
		ColdStart: simulate.LogNormal(100*time.Millisecond, time.Second),
	})
	if len(r.Functions) != 10_000 || r.Total.Served == 0 || r.Total.ColdStarts == 0 {
		t.Errorf("%+v", r.Total)
	}
	if room := int64(nodes.Count) * nodes.Memory; r.Total.PeakMemory > room || r.Total.PeakReplicas > int(room/memory) {
		t.Errorf("%d replicas with %d bytes in %d", r.Total.PeakReplicas, r.Total.PeakMemory, room)
	}
}

func TestWarmWindowsKeepFunctionsWarm(t *testing.T) {
	start := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	trace := at(time.Second, 30*time.Minute, 90*time.Minute)
	trace.Began = start
	r := run(t, simulate.Config{
		Trace: trace, Deploy: labelled("zero=true", "zero-duration=1m", "lofn.dev/warm=from 9 on"), ColdStart: simulate.Exactly(time.Second),
		Warm: func(string) (simulate.Window, error) { return from(start.Add(time.Hour)), nil },
	})
	if r.Total.ColdStarts != 1 {
		t.Errorf("%d cold starts, want one, before the window opened", r.Total.ColdStarts)
	}
}

// from is a window that opens once.
type from time.Time

func (f from) At(now time.Time) (bool, time.Time) {
	if now.Before(time.Time(f)) {
		return false, time.Time(f)
	}
	return true, now.Add(24 * time.Hour)
}

func TestWhatCannotBeSimulated(t *testing.T) {
	for _, c := range []struct{ setting, want string }{
		{"type=cpu", "cannot be simulated"},
		{"type=lag", "cannot be simulated"},
		{"target=0", "target"},
		{"max_inflight=many", "max_inflight"},
	} {
		_, err := simulate.Run(t.Context(), simulate.Config{Trace: at(0, 0), Deploy: labelled(c.setting)})
		if lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.setting, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := simulate.Run(ctx, simulate.Config{Trace: at(0, 0)}); !errors.Is(err, context.Canceled) {
		t.Errorf("a simulation that was interrupted: %v", err)
	}
}

func TestTheSeriesCoversAllOfTheTime(t *testing.T) {
	r := run(t, simulate.Config{
		Trace:  generate(t, simulate.Load{Kind: simulate.KindStep, Rate: 100, Length: 5 * time.Minute, Seed: 1}),
		Deploy: labelled("type=capacity", "target=2"), Points: 100, ColdStart: simulate.Exactly(time.Second),
	})
	calls, last := 0.0, time.Duration(0)
	for _, p := range r.Series {
		calls += p.Calls * (p.At - last).Seconds()
		if p.Wanted < 1 || p.Ready > p.Replicas {
			t.Fatalf("%+v", p)
		}
		last = p.At
	}
	if math.Round(calls) != float64(r.Total.Calls) || len(r.Series) < 100 || last > r.Length {
		t.Errorf("%d points until %v of %v, with %v of %d calls", len(r.Series), last, r.Length, calls, r.Total.Calls)
	}
}
