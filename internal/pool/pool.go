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
	"reflect"
	"slices"
	"sync"
	"time"

	"lofn"
)

// crashLoop is the number of failures in a row after which calls no longer
// wait for a failed replica: below it a crash looks like a short delay, above
// it the function is broken and its callers should hear why at once.
const crashLoop = 3

// Config is what a Pool works with. The zero value is useful.
type Config struct {
	// Poke is told, without a lock held, of the first call for a function after
	// it was declared, after each Sample of it, and as long as calls wait while
	// it wants no replica. It must not block.
	Poke func(lofn.Ref)
	// Waited is told, without a lock held, how long each call waited that did
	// not get a replica at once, if it got one.
	Waited func(ref lofn.Ref, took time.Duration)
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	// usual is the policy of a function that says nothing, which most share.
	usual *lofn.Policy
}

// policy is what the function says about its calls.
func (c *Config) policy(fn lofn.Function) *lofn.Policy {
	policy, _ := fn.Policy()
	if len(policy.Origins) == 0 && reflect.DeepEqual(policy, *c.usual) {
		return c.usual
	}
	return &policy
}

// Pool is safe for concurrent use.
type Pool struct {
	Config

	mu        sync.RWMutex
	functions map[lofn.Ref]*function
	// leaving holds the functions that were forgotten while they had replicas,
	// by the replicas' IDs: calls on those may go on.
	leaving map[string]*function
}

// New returns an empty pool.
func New(c Config) *Pool {
	if c.Poke == nil {
		c.Poke = func(lofn.Ref) {}
	}
	if c.Waited == nil {
		c.Waited = func(lofn.Ref, time.Duration) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	usual, _ := lofn.Function{}.Policy()
	c.usual = &usual
	return &Pool{Config: c, functions: make(map[lofn.Ref]*function), leaving: make(map[string]*function)}
}

// Declare makes a function known, or replaces what is known of it. Calls for
// functions that are not declared fail with code NotFound.
func (p *Pool) Declare(fn lofn.Function) {
	p.mu.Lock()
	f, ok := p.functions[fn.Ref]
	if !ok {
		p.functions[fn.Ref] = newFunction(fn, &p.Config)
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
	came := make(chan turn, 1)
	w := &waiter{turn: func(t turn) { came <- t }}
	l, err := f.enter(again, w)
	switch {
	case err != nil:
		return nil, err
	case l != nil:
		return l, nil
	}
	select {
	case t := <-came:
		if t.err != nil {
			return nil, t.err
		}
		p.Waited(ref, p.Now().Sub(w.since))
		return t.lease, nil
	case <-ctx.Done():
		return nil, f.leave(ctx, w, came)
	}
}

// Ask is Lease for callers that go on meanwhile and wait for as long as it
// takes: then is called with the outcome, at once or later. Later it is called
// where the pool is busy, so it must not block, nor call the pool.
func (p *Pool) Ask(ref lofn.Ref, then func(lofn.Lease, error)) {
	f := p.function(ref)
	if f == nil {
		then(nil, notFound(ref))
		return
	}
	l, err := f.enter(false, &waiter{turn: func(t turn) { answer(then, t.lease, t.err) }})
	if l != nil || err != nil {
		answer(then, l, err)
	}
}

// answer keeps a nil lease from becoming an interface that is not nil.
func answer(then func(lofn.Lease, error), l *lease, err error) {
	if err != nil {
		then(nil, err)
		return
	}
	then(l, nil)
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
	load := f.load()
	return load.InFlight, load.Waiting
}

// Room returns how many replicas of a function take calls, and how many calls
// it has, those that wait included.
func (p *Pool) Room(ref lofn.Ref) (replicas, calls int) {
	f := p.function(ref)
	if f == nil {
		return 0, 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	replicas, _ = f.capacity()
	return replicas, f.load().Calls()
}

// Sample returns how busy a function is, and has Poke told of its next call.
func (p *Pool) Sample(ref lofn.Ref) lofn.Load {
	f := p.function(ref)
	if f == nil {
		return lofn.Load{}
	}
	return f.sample()
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
