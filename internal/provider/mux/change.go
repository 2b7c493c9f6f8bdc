package mux

import (
	"context"
	"time"

	"lofn"
)

// change is the passage of a function from one runtime to the other.
type change struct {
	// old is what the runtime that the function leaves was told last.
	old lofn.Function
	// ready are the replicas of the wanted generation that take calls, by ID.
	ready map[string]bool
	// retrying is set while what failed is tried again.
	retrying bool
}

// retryPause is between attempts to have a runtime remove what is replaced.
const retryPause = time.Second

// note takes in a wish that the function's runtime has been told.
func (f *function) note(fn lofn.Function) {
	was := f.want
	f.want = fn
	switch {
	case runtimeOf(was) != runtimeOf(fn):
		// If it was changing already, it goes back: the runtime that it was to
		// leave replaces its own replicas by itself.
		f.change = &change{old: was, ready: make(map[string]bool)}
	case f.change != nil && was.Generation != fn.Generation:
		clear(f.change.ready)
	}
}

// progress does what the function's change of the runtime allows at the
// moment: of the old replicas as many stay as are wanted, until so many new
// ones are ready.
func (p *Provider) progress(ctx context.Context, f *function) error {
	if f.change == nil {
		return nil
	}
	old := f.change.old
	leaving := p.runtimes[runtimeOf(old)]
	if len(f.change.ready) >= f.want.Replicas {
		if err := leaving.Remove(ctx, old.Ref); err != nil {
			return err
		}
		f.change = nil
		return nil
	}
	if old.Replicas <= f.want.Replicas {
		return nil
	}
	old.Replicas = f.want.Replicas
	if err := leaving.Ensure(ctx, old); err != nil {
		return err
	}
	f.change.old = old
	return nil
}

// follow watches the replicas of a runtime.
func (p *Provider) follow(runtime string) {
	for r := range p.runtimes[runtime].Watch(p.life) {
		p.board.Post(r)
		p.observe(runtime, r)
	}
}

// observe takes in a replica's state if its function changes the runtime.
func (p *Provider) observe(runtime string, r lofn.Replica) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.functions[r.Function]
	if f == nil || f.change == nil || runtimeOf(f.want) != runtime || f.want.Generation != r.Generation {
		return
	}
	if r.State != lofn.Ready {
		delete(f.change.ready, r.ID)
		return
	}
	f.change.ready[r.ID] = true
	p.advance(f)
}

// advance makes progress that nobody asked for at this moment, and so must try
// again by itself if it fails. It is called with the lock held.
func (p *Provider) advance(f *function) {
	err := p.progress(p.life, f)
	if err == nil || f.change.retrying || p.life.Err() != nil {
		return
	}
	p.log.Warn("what a function ran as before stays beside what it runs as now, trying again",
		"function", f.want.Ref, "runtime", runtimeOf(f.change.old), "error", err, "in", retryPause)
	c := f.change
	c.retrying = true
	p.workers.Go(func() {
		select {
		case <-time.After(retryPause):
		case <-p.life.Done():
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		c.retrying = false
		if p.functions[f.want.Ref] == f && f.change == c {
			p.advance(f)
		}
	})
}
