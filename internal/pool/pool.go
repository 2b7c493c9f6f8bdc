// Package pool knows the replicas of every function and lends them to calls:
// each call holds a lease on one replica from its start to the end of its
// response. Calls for a function without a ready replica wait here until there
// is one, so that a cold start or a restart is a delay and not an error.
package pool

import (
	"context"
	"sync"

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
		f = newFunction()
		p.functions[fn.Ref] = f
	}
	p.mu.Unlock()

	f.mu.Lock()
	f.spec = fn
	f.mu.Unlock()
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

// Lease waits for a ready replica of the function, the least busy one, and
// lends it. The caller must Release the lease. It fails with NotFound for an
// unknown function, Unavailable for one that keeps failing to start, and
// DeadlineExceeded or the context's error when ctx ends first.
func (p *Pool) Lease(ctx context.Context, ref lofn.Ref) (lofn.Lease, error) {
	f := p.function(ref)
	if f == nil {
		return nil, notFound(ref)
	}
	l, changed, err := f.take(ref)
	if err != nil {
		return nil, err
	}
	if l != nil {
		return l, nil
	}
	f.hold(+1)
	defer f.hold(-1)
	for l == nil && err == nil {
		if f.asleep() {
			p.wake(ref)
		}
		select {
		case <-changed:
			l, changed, err = f.take(ref)
		case <-ctx.Done():
			return nil, f.expired(ctx, ref)
		}
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// TryLease is Lease without the waiting: false means that no replica is ready.
func (p *Pool) TryLease(ref lofn.Ref) (lofn.Lease, bool) {
	f := p.function(ref)
	if f == nil {
		return nil, false
	}
	l, _, _ := f.take(ref)
	return l, l != nil
}

// Function returns what is known of a function, and whether it is declared.
func (p *Pool) Function(ref lofn.Ref) (lofn.Function, bool) {
	f := p.function(ref)
	if f == nil {
		return lofn.Function{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.spec, true
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
	return inFlight, f.held
}

func (p *Pool) function(ref lofn.Ref) *function {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.functions[ref]
}

// lease is the pool's lofn.Lease.
type lease struct {
	replica  lofn.Replica
	function *function
	member   *member
	once     sync.Once
}

func (l *lease) Replica() lofn.Replica { return l.replica }

func (l *lease) Release() {
	l.once.Do(func() { l.function.release(l.member) })
}

func (l *lease) Refused() {
	l.function.suspect(l.member)
	l.Release()
}

func notFound(ref lofn.Ref) error {
	return lofn.Errorf(lofn.NotFound, "error finding function %s: it is not deployed in namespace %q", ref, ref.Namespace)
}
