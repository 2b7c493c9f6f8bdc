package mux_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
	"lofn/internal/provider/fleet"
	"lofn/internal/provider/mux"
)

// runtime is a fleet of replicas that do nothing.
type runtime struct {
	*fleet.Fleet
	rest

	mu        sync.Mutex
	fails     bool
	gate      chan struct{}
	removeErr error
	removed   int
	instances map[string]*instance
}

// rest is what a runtime has to say besides: what the test wants.
type rest struct {
	name string
	// image is what Look finds.
	image    lofn.Image
	lookErr  error
	usage    lofn.Usage
	consumed []fleet.Consumption
	digests  []string
	// forgotten and synced are what it was told.
	forgotten []lofn.Ref
	synced    []string
}

func newRuntime(name string, drain func(context.Context, lofn.Replica) error) *runtime {
	r := &runtime{rest: rest{name: name}, instances: make(map[string]*instance)}
	r.Fleet = fleet.New(fleet.Config{Starter: r, Drain: drain})
	return r
}

// Start implements fleet.Starter.
func (r *runtime) Start(ctx context.Context, _ lofn.Function, id string, _ func(string)) (fleet.Instance, error) {
	r.mu.Lock()
	gate := r.gate
	r.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails {
		return nil, errors.New("it does not start")
	}
	i := &instance{done: make(chan struct{})}
	r.instances[id] = i
	return i, nil
}

// hold keeps replicas from getting ready: admit lets one of them, release all.
func (r *runtime) hold() (admit, release func()) {
	gate := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate = gate
	admit = func() {
		gate <- struct{}{}
		synctest.Wait()
	}
	return admit, func() {
		r.mu.Lock()
		r.gate = nil
		r.mu.Unlock()
		close(gate)
		synctest.Wait()
	}
}

func (r *runtime) setFails(fails bool) {
	r.mu.Lock()
	r.fails = fails
	r.mu.Unlock()
}

func (r *runtime) setRemoveErr(err error) {
	r.mu.Lock()
	r.removeErr = err
	r.mu.Unlock()
}

// crash ends a replica.
func (r *runtime) crash(id string) {
	r.mu.Lock()
	i := r.instances[id]
	r.mu.Unlock()
	i.end(errors.New("kicked"))
}

// Remove implements lofn.Provider.
func (r *runtime) Remove(ctx context.Context, ref lofn.Ref) error {
	r.mu.Lock()
	r.removed++
	err := r.removeErr
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return r.Fleet.Remove(ctx, ref)
}

func (r *runtime) removals() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.removed
}

func (r *rest) Look(context.Context, lofn.Function) (lofn.Image, error) { return r.image, r.lookErr }

func (r *rest) Admit(_ context.Context, _ lofn.Function, image lofn.Image) (lofn.Resolution, error) {
	return lofn.Resolution{Digest: image.Digest, Runtime: r.name}, nil
}

func (r *rest) Usage(context.Context, lofn.Ref) (lofn.Usage, error) { return r.usage, nil }

func (r *rest) SyncSecret(_ context.Context, namespace, name string) error {
	r.synced = append(r.synced, namespace+"/"+name)
	return nil
}

func (r *rest) Consumption() []fleet.Consumption { return r.consumed }
func (r *rest) Forget(ref lofn.Ref)              { r.forgotten = append(r.forgotten, ref) }
func (r *rest) Digests() []string                { return r.digests }

type instance struct {
	once sync.Once
	done chan struct{}
	err  error
}

func (i *instance) Address() (network, address string) { return "unix", "/nowhere" }
func (i *instance) Done() <-chan struct{}              { return i.done }
func (i *instance) Err() error                         { return i.err }
func (i *instance) Startup() lofn.Startup              { return lofn.Startup{} }
func (i *instance) Stop(context.Context)               { i.end(nil) }

func (i *instance) end(err error) {
	i.once.Do(func() {
		i.err = err
		close(i.done)
	})
}

// rig is a provider over two runtimes, in a bubble of synctest.
type rig struct {
	*testing.T
	*mux.Provider
	process, container *runtime
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, process: newRuntime(lofn.RuntimeProcess, nil), container: newRuntime(lofn.RuntimeContainer, nil)}
	r.Provider = mux.New(mux.Config{Process: r.process, Container: r.container})
	t.Cleanup(func() {
		r.Provider.Close()
		_ = r.process.Close(context.Background())
		_ = r.container.Close(context.Background())
	})
	return r
}

// bubble runs a test with a rig of its own.
func bubble(t *testing.T, test func(*rig)) {
	synctest.Test(t, func(t *testing.T) { test(newRig(t)) })
}

// wish is a function of a runtime.
func wish(runtime string, generation int64, replicas int) lofn.Function {
	return lofn.Function{
		Ref: lofn.Ref{Namespace: "ns", Name: "fn"}, Spec: lofn.Spec{Image: "any"},
		Runtime: runtime, Generation: generation, Replicas: replicas,
	}
}

func (r *rig) ensure(fn lofn.Function) {
	r.Helper()
	if err := r.Ensure(r.Context(), fn); err != nil {
		r.Fatal(err)
	}
	synctest.Wait()
}

// existing returns the replicas of a provider, once nothing moves any more.
func existing(p lofn.Provider) []lofn.Replica {
	ctx, cancel := context.WithCancel(context.Background())
	latest := make(map[string]lofn.Replica)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for replica := range p.Watch(ctx) {
			latest[replica.ID] = replica
		}
	}()
	synctest.Wait()
	cancel()
	<-done
	maps.DeleteFunc(latest, func(_ string, r lofn.Replica) bool { return r.State == lofn.Gone })
	return slices.Collect(maps.Values(latest))
}

// later lets so much time of the bubble pass.
func later(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
