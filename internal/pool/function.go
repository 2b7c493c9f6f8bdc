package pool

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lofn"
)

// function is the pool's view of one function.
type function struct {
	ref lofn.Ref
	// config is the pool's. Where the lock is held, or the caller may hold one
	// of its own, Poke runs on a goroutine.
	config *Config

	policy atomic.Pointer[lofn.Policy]

	mu sync.Mutex
	// members are the replicas, in the order in which they came; the last one
	// lent is members[last].
	members []*member
	last    int
	queue   queue
	gone    bool
	// wanted is how many replicas there shall be.
	wanted int
	// started counts the calls that came; poked says that Poke was told of one
	// since the last Sample.
	started uint64
	poked   bool
}

// member is one replica with the calls that hold it.
type member struct {
	function *function
	// replica is replaced and never changed, for leases share it.
	replica *lofn.Replica
	calls   int
	// limit is how many calls it takes, as the function said when it was
	// deployed in the replica's generation.
	limit    int
	draining bool
	// suspect members refused a connection a moment ago.
	suspect bool
	// usable says that calls may be sent to it, unless it has enough.
	usable bool
	// idle is closed when the last call of a draining member ended.
	idle chan struct{}
}

func newFunction(fn lofn.Function, c *Config) *function {
	f := &function{ref: fn.Ref, config: c}
	f.declare(fn)
	return f
}

// declare takes in what the function shall be. What it says was checked before
// it was stored; a value that makes no sense all the same counts as absent.
func (f *function) declare(fn lofn.Function) {
	policy := f.config.policy(fn)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wanted = fn.Replicas
	f.policy.Store(policy)
	for _, m := range f.members {
		if m.replica.Generation == fn.Generation {
			m.limit = f.limit()
		}
	}
	f.settle()
}

// limit is how many calls a replica of the newest generation takes.
func (f *function) limit() int { return cmp.Or(f.policy.Load().MaxInflight, math.MaxInt) }

// take returns a lease if a replica is free and nobody waits for it.
func (f *function) take() *lease {
	f.mu.Lock()
	var l *lease
	if !f.gone && f.queue.waiting() == 0 {
		l = f.next()
	}
	news := l != nil && f.count()
	f.mu.Unlock()
	if news {
		f.config.Poke(f.ref)
	}
	return l
}

// count takes note of a call that came, and reports whether Poke is to be told.
func (f *function) count() (news bool) {
	f.started++
	news = !f.poked
	f.poked = true
	return news
}

// sample returns the load, and has Poke told of the next call.
func (f *function) sample() lofn.Load {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.poked = false
	return f.load()
}

// load counts the calls and the replicas for them; the lock is held.
func (f *function) load() lofn.Load {
	load := lofn.Load{Waiting: f.queue.waiting(), Started: f.started}
	failed := false
	for _, m := range f.members {
		load.InFlight += m.calls
		failed = failed || m.replica.State == lofn.Failed
		if m.replica.State == lofn.Ready && !m.draining {
			load.Ready++
		}
	}
	load.Failing = failed && load.Ready == 0
	return load
}

// next lends the member with the fewest calls, nil if none takes one more.
func (f *function) next() *lease {
	m := f.leastBusy()
	if m == nil {
		return nil
	}
	m.calls++
	return &lease{member: m, replica: m.replica}
}

// leastBusy looks from behind the last one lent on, so that equals take turns.
func (f *function) leastBusy() *member {
	var best *member
	at, found := f.last, 0
	for range f.members {
		if at++; at >= len(f.members) {
			at = 0
		}
		m := f.members[at]
		if !m.usable || m.calls >= m.limit || best != nil && m.calls >= best.calls {
			continue
		}
		if best, found = m, at; m.calls == 0 {
			break
		}
	}
	if best != nil {
		f.last = found
	}
	return best
}

// broken reports whether every replica has failed again and again.
func (f *function) broken() bool {
	for _, m := range f.members {
		if m.replica.Failures < crashLoop || m.replica.State != lofn.Failed {
			return false
		}
	}
	return len(f.members) > 0
}

// settle gives waiting calls what there is for them, after any change.
func (f *function) settle() {
	f.serve()
	switch {
	case f.queue.waiting() == 0:
	case f.gone:
		f.queue.dismiss(notFound(f.ref))
	case f.broken():
		f.queue.dismiss(cannotStart(f.ref))
	case f.wanted == 0:
		go f.config.Poke(f.ref)
	}
}

// serve hands what is free to those who wait, the first one first.
func (f *function) serve() {
	for f.queue.waiting() > 0 && !f.gone {
		l := f.next()
		if l == nil {
			return
		}
		f.queue.pop(turn{lease: l})
	}
}

// end is the end of a call. Its place goes to the first of those who wait.
func (f *function) end(l *lease) {
	if l.ended {
		return
	}
	l.ended = true
	l.member.calls--
	l.member.closeIfIdle()
	f.queue.passed++
	if f.queue.waiting() > 0 {
		f.serve()
	}
}

func (m *member) closeIfIdle() {
	if m.draining && m.calls == 0 {
		close(m.idle)
	}
}

// judge decides anew whether the member may be sent calls.
func (m *member) judge() {
	m.usable = m.replica.State == lofn.Ready && !m.draining && !m.suspect
}

func (f *function) drain(id string) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.index(id)
	if i < 0 {
		none := make(chan struct{})
		close(none)
		return none
	}
	m := f.members[i]
	if !m.draining {
		m.draining = true
		m.judge()
		m.closeIfIdle()
	}
	return m.idle
}

// index is where the replica is among the members, -1 for nowhere.
func (f *function) index(id string) int {
	return slices.IndexFunc(f.members, func(m *member) bool { return m.replica.ID == id })
}

func (f *function) update(r lofn.Replica) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.index(r.ID)
	switch {
	case r.State == lofn.Gone && i >= 0:
		f.members = slices.Delete(f.members, i, i+1)
	case r.State == lofn.Gone:
	case i >= 0:
		m := f.members[i]
		m.replica, m.suspect = &r, false
		m.judge()
	default:
		m := &member{function: f, replica: &r, limit: f.limit(), idle: make(chan struct{})}
		m.judge()
		f.members = append(f.members, m)
	}
	f.settle()
}

// forget fails the calls that wait and returns the IDs of the replicas.
func (f *function) forget() (ids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
	f.settle()
	for _, m := range f.members {
		ids = append(ids, m.replica.ID)
	}
	return ids
}

// suspicion is how long a replica that refused a connection is left alone if
// its provider has nothing to say about it.
const suspicion = time.Second

func (f *function) suspect(m *member) {
	m.suspect = true
	m.judge()
	time.AfterFunc(suspicion, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		m.suspect = false
		m.judge()
		f.settle()
	})
}
