package simulate_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
	"lofn/internal/deploy"
	"lofn/internal/pool"
	"lofn/internal/provider/fleet"
	"lofn/internal/scale"
	"lofn/internal/simulate"
	"lofn/internal/store/mem"
)

// decision is a change of a count.
type decision struct {
	at time.Duration
	to int
}

// coldStart is such that no replica gets ready at the moment of a decision, nor
// does a call of stepLoad come or end at one: what is first then is chance.
const coldStart = 130*time.Millisecond + 11

// stepLoad is no call, 200 at a time for a while, and none again.
func stepLoad() *simulate.Recorded {
	trace := at(0)
	for t := time.Second; t < 41*time.Second; t += 2_507_000 {
		trace.Calls = append(trace.Calls, simulate.Call{At: t, Duration: 503_100_007})
	}
	return trace
}

// instance is a replica that is nothing but the time that it takes to start.
type instance struct{ done chan struct{} }

func (instance) Address() (network, address string) { return "", "" }
func (i instance) Done() <-chan struct{}            { return i.done }
func (instance) Err() error                         { return nil }
func (instance) Startup() lofn.Startup              { return lofn.Startup{} }
func (instance) Stop(context.Context)               {}

type slowly struct{}

// Start implements fleet.Starter.
func (slowly) Start(ctx context.Context, _ lofn.Function, _ string, _ func(string)) (fleet.Instance, error) {
	select {
	case <-time.After(coldStart):
		return instance{make(chan struct{})}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// reality has the real parts work through the trace, with a goroutine for each
// call, and returns the decisions and how long calls waited.
func reality(t *testing.T, trace *simulate.Recorded, fn lofn.Function, length time.Duration) (decisions []decision, waits []time.Duration) {
	ctx, cancel := context.WithCancel(t.Context())
	var (
		began  = time.Now()
		store  = mem.New[lofn.Function]()
		scaler *scale.Scaler
		parts  sync.WaitGroup
		calls  sync.WaitGroup
		mu     sync.Mutex
	)
	p := pool.New(pool.Config{
		Poke: func(ref lofn.Ref) { scaler.Poke(ref) },
		Waited: func(_ lofn.Ref, took time.Duration) {
			mu.Lock()
			waits = append(waits, took)
			mu.Unlock()
		},
	})
	provider := fleet.New(fleet.Config{Starter: slowly{}, Drain: p.Drain, MaxStarts: 1000})
	var reconciler *deploy.Reconciler
	scaler = scale.New(scale.Config{Pool: p, Scale: func(ref lofn.Ref, revision lofn.Revision, replicas int) {
		decisions = append(decisions, decision{time.Since(began), replicas})
		reconciler.Scale(ref, revision, replicas)
	}})
	reconciler = deploy.New(deploy.Config{Functions: store, Provider: provider, Pool: p, Scaler: scaler, Log: slog.New(slog.DiscardHandler)})
	if _, err := store.Put(ctx, fn.Ref, fn, 0); err != nil {
		t.Fatal(err)
	}
	parts.Go(func() { reconciler.Run(ctx) })
	<-reconciler.Synced()
	parts.Go(func() { scaler.Run(ctx) })
	for _, call := range trace.Calls {
		time.Sleep(call.At - time.Since(began))
		calls.Go(func() {
			lease, err := p.Lease(ctx, fn.Ref)
			if err != nil {
				t.Error(err)
				return
			}
			time.Sleep(call.Duration)
			lease.Release()
		})
	}
	calls.Wait()
	time.Sleep(length - time.Since(began))
	cancel()
	parts.Wait()
	if err := provider.Close(context.WithoutCancel(ctx)); err != nil {
		t.Error(err)
	}
	return decisions, waits
}

// TestSimulationAgreesWithReality: the same load through scaler, pool, reconciler
// and provider as they run in the platform, and through a simulation, brings the
// same decisions at the same instants, and the same waits.
func TestSimulationAgreesWithReality(t *testing.T) {
	for name, settings := range map[string][]string{
		"by capacity, from zero": {"type=capacity", "target=10", "max=40", "max_inflight=10", "zero=true", "zero-duration=40s"},
		"by capacity, from one":  {"type=capacity", "target=10", "max=40", "max_inflight=10"},
		"by requests, from zero": {"type=rps", "target=20", "max=40", "max_inflight=12", "zero=true", "zero-duration=40s"},
		"not by load":            {"zero=true", "zero-duration=10s", "max_inflight=200"},
	} {
		t.Run(name, func(t *testing.T) {
			const length = 3 * time.Minute
			trace := stepLoad()
			fn := labelled(settings...)(hello)
			fn.Ref, fn.Replicas, fn.Generation, fn.CreatedAt = hello, 1, 1, time.Unix(1, 0)
			var real []decision
			var waits []time.Duration
			synctest.Test(t, func(t *testing.T) { real, waits = reality(t, trace, fn, length) })

			var simulated []decision
			r := run(t, simulate.Config{
				Trace: trace, Deploy: labelled(settings...), ColdStart: simulate.Exactly(coldStart), Length: length,
				Decided: func(at time.Duration, _ lofn.Ref, _, to int) { simulated = append(simulated, decision{at, to}) },
			})
			if !slices.Equal(real, simulated) {
				t.Errorf("the real parts decided\n%v\nthe simulation\n%v", real, simulated)
			}
			if len(waits) != int(r.Total.Waited) || slices.Max(append(waits, 0)) != r.Total.Wait.Max {
				t.Errorf("%d calls waited for up to %v, %d for up to %v in the simulation", len(waits), slices.Max(append(waits, 0)), r.Total.Waited, r.Total.Wait.Max)
			}
			if len(simulated) < 2 {
				t.Errorf("only %d decisions: it shows nothing", len(simulated))
			}
		})
	}
}
