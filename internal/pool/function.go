package pool

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"lofn"
)

// function is the pool's view of one function.
type function struct {
	mu      sync.Mutex
	spec    lofn.Function
	members map[string]*member
	// held counts the calls that wait for a replica.
	held int
	// changed is closed and replaced whenever a held call should look again.
	changed chan struct{}
	gone    bool
}

// member is one replica with the calls that hold it.
type member struct {
	replica  lofn.Replica
	calls    int
	draining bool
	// suspect members refused a connection a moment ago.
	suspect bool
	// idle is closed when the last call of a draining member ended.
	idle chan struct{}
}

func newFunction() *function {
	return &function{members: make(map[string]*member), changed: make(chan struct{})}
}

// take returns a lease if there is a ready replica, an error if waiting for
// one is in vain, and else the channel that closes when something changed.
func (f *function) take(ref lofn.Ref) (*lease, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone {
		return nil, nil, notFound(ref)
	}
	if best := f.leastBusy(); best != nil {
		best.calls++
		return &lease{replica: best.replica, function: f, member: best}, nil, nil
	}
	if f.broken() {
		// Why is for those who may see the function's log.
		return nil, nil, lofn.Errorf(lofn.Unavailable, "function %s cannot start; lofn describe %s says why", ref, ref.Name)
	}
	return nil, f.changed, nil
}

// asleep reports whether the function has been scaled to zero.
func (f *function) asleep() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.gone && f.spec.Replicas == 0
}

func (f *function) hold(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held += n
}

// leastBusy returns the ready member with the fewest calls, nil if none is
// ready.
func (f *function) leastBusy() *member {
	var best *member
	for _, m := range f.members {
		if m.usable() && (best == nil || m.calls < best.calls) {
			best = m
		}
	}
	return best
}

func (m *member) usable() bool {
	return m.replica.State == lofn.Ready && !m.draining && !m.suspect
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

func (f *function) release(m *member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.calls--
	m.closeIfIdle()
}

func (m *member) closeIfIdle() {
	if m.draining && m.calls == 0 {
		close(m.idle)
	}
}

func (f *function) drain(id string) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, ok := f.members[id]
	if !ok {
		m = &member{idle: make(chan struct{})}
	}
	if !m.draining {
		m.draining = true
		m.closeIfIdle()
	}
	return m.idle
}

func (f *function) update(r lofn.Replica) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, ok := f.members[r.ID]
	switch {
	case r.State == lofn.Gone:
		delete(f.members, r.ID)
	case ok:
		m.replica, m.suspect = r, false
	default:
		f.members[r.ID] = &member{replica: r, idle: make(chan struct{})}
	}
	f.signal()
}

// forget fails the calls that wait and returns the IDs of the replicas.
func (f *function) forget() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
	f.signal()
	return slices.Collect(maps.Keys(f.members))
}

// suspicion is how long a replica that refused a connection is left alone if
// its provider has nothing to say about it.
const suspicion = time.Second

func (f *function) suspect(m *member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.suspect = true
	time.AfterFunc(suspicion, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		m.suspect = false
		f.signal()
	})
}

// signal makes every held call look again.
func (f *function) signal() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// expired says why a held call ended without a replica.
func (f *function) expired(ctx context.Context, ref lofn.Ref) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	return lofn.Errorf(lofn.DeadlineExceeded, "function %s: no replica became ready in time; lofn describe %s says why", ref, ref.Name)
}
