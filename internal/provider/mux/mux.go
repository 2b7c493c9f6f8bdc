// Package mux is a lofn.Provider over two others, one for each runtime: it
// settles which of them runs a function, and when that changes from one
// generation to the next, it keeps the old replicas in service until as many of
// the new ones are ready.
package mux

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"

	"lofn"
	"lofn/internal/provider/fleet"
)

// Runtime is a provider whose replicas are all of one runtime. Its Ensure and
// Remove must be quick.
type Runtime interface {
	lofn.Provider
	lofn.UsageReporter
	lofn.SecretSyncer
	examiner

	// Consumption returns what each function consumed that has or had a replica
	// of this runtime.
	Consumption() []fleet.Consumption
	// Forget drops what was counted for a function that was removed.
	Forget(ref lofn.Ref)
	// Digests returns the images that replicas run from.
	Digests() []string
}

// Config is what a Provider works with.
type Config struct {
	// Process and Container run the functions of lofn.RuntimeProcess and
	// lofn.RuntimeContainer. Both are needed: for a runtime that a machine does
	// not have there is to be one that says so.
	Process, Container Runtime
	// Log receives what fails; nil discards it.
	Log *slog.Logger
}

// Provider implements lofn.Provider, lofn.Resolver, lofn.UsageReporter and
// lofn.SecretSyncer. Its methods are safe for concurrent use. What it is made
// of is closed by whoever made that, after the Provider.
type Provider struct {
	runtimes map[string]Runtime
	log      *slog.Logger
	// board has the replicas of all runtimes in one order.
	board *fleet.Board

	life    context.Context
	end     context.CancelFunc
	workers sync.WaitGroup

	// mu is held while runtimes are told of a wish, so that wishes for a function
	// reach both in the same order.
	mu        sync.Mutex
	functions map[lofn.Ref]*function
}

// function is what is wanted of one function. The fields are guarded by
// Provider.mu.
type function struct {
	want lofn.Function
	// change is nil while all replicas are of one runtime.
	change *change
}

// New returns a Provider that knows of no function. Close ends it.
func New(c Config) *Provider {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	p := &Provider{
		runtimes:  map[string]Runtime{lofn.RuntimeProcess: c.Process, lofn.RuntimeContainer: c.Container},
		log:       c.Log,
		board:     fleet.NewBoard(),
		functions: make(map[lofn.Ref]*function),
	}
	p.life, p.end = context.WithCancel(context.Background())
	for name := range p.runtimes {
		p.workers.Go(func() { p.follow(name) })
	}
	return p
}

// Close returns when the Provider does nothing by itself any more. Changes of
// the runtime that are under way stay as they are.
func (p *Provider) Close() {
	p.end()
	p.workers.Wait()
}

// runtimeOf is the runtime that was settled when the function was accepted;
// before there were several it was not noted.
func runtimeOf(fn lofn.Function) string { return cmp.Or(fn.Runtime, lofn.RuntimeProcess) }

// Ensure implements lofn.Provider.
func (p *Provider) Ensure(ctx context.Context, fn lofn.Function) error {
	name := runtimeOf(fn)
	runtime, ok := p.runtimes[name]
	if !ok {
		return lofn.Errorf(lofn.Unimplemented, "%s: this lofn knows no runtime %q: it may have been deployed with a newer one, deploy it again", fn.Ref, name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.functions[fn.Ref]
	if known != nil && fn.Generation < known.want.Generation {
		return lofn.Errorf(lofn.Conflict, "%s: generation %d is older than %d, which is in force", fn.Ref, fn.Generation, known.want.Generation)
	}
	if err := runtime.Ensure(ctx, fn); err != nil {
		return err
	}
	if known == nil {
		p.functions[fn.Ref] = &function{want: fn}
		return nil
	}
	known.note(fn)
	return p.progress(ctx, known)
}

// Remove implements lofn.Provider.
func (p *Provider) Remove(ctx context.Context, ref lofn.Ref) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, runtime := range p.runtimes {
		errs = append(errs, runtime.Remove(ctx, ref))
	}
	err := errors.Join(errs...)
	if err == nil {
		delete(p.functions, ref)
	}
	return err
}

// Watch implements lofn.Provider. After Close nothing is added to it.
func (p *Provider) Watch(ctx context.Context) iter.Seq[lofn.Replica] { return p.board.Watch(ctx) }
