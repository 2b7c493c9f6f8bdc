// Package pool knows the replicas of every function and lends them to calls:
// each call holds a lease on one replica from its start to the end of its
// response. A replica has no more calls than its function allows. Calls for
// which no replica is free or ready wait here in the order in which they came,
// so that a cold start, a restart or a crowd is a delay and not an error; as
// many of them as the function allows.
package pool

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"lofn"
)

// crashLoop is the number of failures in a row after which calls no longer
// wait for a failed replica: below it a crash looks like a short delay, above
// it the function is broken and its callers should hear why at once.
const crashLoop = 3

// Pool is safe for concurrent use.
type Pool struct {
	// wake is told, without a lock held, of a call for a function that wants
	// no replica at present.
	wake func(lofn.Ref)

	mu        sync.RWMutex
	functions map[lofn.Ref]*function
	// leaving holds the functions that were forgotten while they had replicas,
	// by the replicas' IDs: calls on those may go on.
	leaving map[string]*function
}

// New returns an empty pool. wake is called for every call that finds its
// function scaled to zero; it must not block.
func New(wake func(lofn.Ref)) *Pool {
	return &Pool{wake: wake, functions: make(map[lofn.Ref]*function), leaving: make(map[string]*function)}
}

// Declare makes a function known, or replaces what is known of it. Calls for
// functions that are not declared fail with code NotFound.
func (p *Pool) Declare(fn lofn.Function) {
	p.mu.Lock()
	f, ok := p.functions[fn.Ref]
	if !ok {
		p.functions[fn.Ref] = newFunction(fn, p.wake)
	}
	p.mu.Unlock()
	if ok {
		f.declare(fn)
	}
}

// Forget makes a function unknown. Calls that wait for it fail with code
// NotFound; leases on its replicas stay good.
func (p *Pool) Forget(ref lofn.Ref) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.functions[ref]
	if !ok {
		return
	}
	delete(p.functions, ref)
	for _, id := range f.forget() {
		p.leaving[id] = f
	}
}

// Update takes in the state of a replica as its provider reports it. Replicas
// of functions that are not declared are ignored.
func (p *Pool) Update(r lofn.Replica) {
	p.mu.Lock()
	f, left := p.leaving[r.ID]
	if left && r.State == lofn.Gone {
		delete(p.leaving, r.ID)
	}
	if !left {
		f = p.functions[r.Function]
	}
	p.mu.Unlock()
	if f != nil {
		f.update(r)
	}
}

// Lease lends the least busy ready replica of the function, and waits its turn
// for one if all are busy or none is ready. The caller must Release the lease.
// It fails with NotFound for an unknown function, Unavailable for one that
// keeps failing to start, Overloaded if too many calls wait already, and
// DeadlineExceeded or the context's error when ctx ends first.
func (p *Pool) Lease(ctx context.Context, ref lofn.Ref) (lofn.Lease, error) {
	return p.lease(ctx, ref, false)
}

// Again is Lease for a call that had a lease already, on a replica that did not
// take it: it was admitted, so it waits before all others, if it has to, and is
// not refused for want of room.
func (p *Pool) Again(ctx context.Context, ref lofn.Ref) (lofn.Lease, error) {
	return p.lease(ctx, ref, true)
}

func (p *Pool) lease(ctx context.Context, ref lofn.Ref, again bool) (lofn.Lease, error) {
	f := p.function(ref)
	if f == nil {
		return nil, notFound(ref)
	}
	l, w, err := f.enter(again)
	if l != nil {
		return l, nil
	}
	if f.asleep() {
		p.wake(ref)
	}
	if err != nil {
		return nil, err
	}
	began := time.Now()
	select {
	case t := <-w.turn:
		if t.err != nil {
			return nil, t.err
		}
		return t.lease, nil
	case <-ctx.Done():
		return nil, f.leave(ctx, w, time.Since(began))
	}
}

// TryLease is Lease without the waiting: false means that no replica is free
// now, or that others wait for one.
func (p *Pool) TryLease(ref lofn.Ref) (lofn.Lease, bool) {
	f := p.function(ref)
	if f == nil {
		return nil, false
	}
	l := f.take()
	return l, l != nil
}

// Policy returns what a function says about its calls, and whether it is
// declared. The policy is shared and must not be changed.
func (p *Pool) Policy(ref lofn.Ref) (*lofn.Policy, bool) {
	f := p.function(ref)
	if f == nil {
		return nil, false
	}
	return f.policy.Load(), true
}

// Drain lets no further call onto the replica and waits until the calls that
// hold it have ended, or for ctx. A replica that the pool does not know has
// no calls.
func (p *Pool) Drain(ctx context.Context, r lofn.Replica) error {
	p.mu.RLock()
	f, left := p.leaving[r.ID]
	if !left {
		f = p.functions[r.Function]
	}
	p.mu.RUnlock()
	if f == nil {
		return nil
	}
	idle := f.drain(r.ID)
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Load returns the calls of a function that are in flight and those that wait
// for a replica.
func (p *Pool) Load(ref lofn.Ref) (inFlight, waiting int) {
	f := p.function(ref)
	if f == nil {
		return 0, 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		inFlight += m.calls
	}
	return inFlight, f.queue.waiting()
}

// Queues yields, for every function, how many calls wait and how many were
// refused since it was declared because too many waited.
func (p *Pool) Queues(yield func(fn lofn.Ref, waiting int, refused uint64)) {
	p.mu.RLock()
	all := slices.Collect(maps.Values(p.functions))
	p.mu.RUnlock()
	for _, f := range all {
		f.mu.Lock()
		waiting, refused := f.queue.waiting(), f.queue.refused
		f.mu.Unlock()
		yield(f.ref, waiting, refused)
	}
}

func (p *Pool) function(ref lofn.Ref) *function {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.functions[ref]
}

// lease is the pool's lofn.Lease. Its function's lock guards it.
type lease struct {
	member  *member
	replica *lofn.Replica
	ended   bool
}

func (l *lease) Replica() lofn.Replica { return *l.replica }

func (l *lease) Release() {
	f := l.member.function
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end(l)
}

func (l *lease) Refused() {
	f := l.member.function
	f.mu.Lock()
	defer f.mu.Unlock()
	f.suspect(l.member)
	f.end(l)
}

func notFound(ref lofn.Ref) error {
	return lofn.Errorf(lofn.NotFound, "error finding function %s: it is not deployed in namespace %q", ref, ref.Namespace)
}

// cannotStart leaves the reason to those who may see the function's log.
func cannotStart(ref lofn.Ref) error {
	return lofn.Errorf(lofn.Unavailable, "function %s cannot start; lofn describe %s says why", ref, ref.Name)
}
