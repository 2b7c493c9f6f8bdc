package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"lofn"
	"lofn/internal/handover"
)

// predecessor is the process whose place this one takes.
type predecessor struct {
	line   *handover.Line
	estate estate
	// gone is closed when it has ended, and all its calls with it.
	gone chan struct{}

	mu sync.Mutex
	// calls are those that wait in it for containers, and poke is told of the
	// functions, once it is there.
	calls map[lofn.Ref]int
	poke  func(lofn.Ref)
	// draining are closed when it has no call on a container any more, by ID.
	draining map[string]chan struct{}
}

// succeed tells the process before this one that the data is wanted, and
// returns when it has let go of it.
func succeed(ctx context.Context, line *handover.Line) (*predecessor, error) {
	if err := line.Send(message{Step: waiting}); err != nil {
		return nil, fmt.Errorf("the process to take over from: %w", err)
	}
	var m message
	if err := line.Receive(ctx, &m); err != nil || m.Estate == nil {
		return nil, fmt.Errorf("the process to take over from did not hand its data over: %w", err)
	}
	return &predecessor{line: line, estate: *m.Estate, gone: make(chan struct{}), draining: make(map[string]chan struct{})}, nil
}

// had is how many replicas took calls of a function.
func (p *predecessor) had(ref lofn.Ref) int {
	if p == nil {
		return 0
	}
	return p.estate.Ready[ref.Host()]
}

// waiting is how many calls of a function wait in it for containers.
func (p *predecessor) waiting(ref lofn.Ref) int {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[ref]
}

// drain returns when it has no call on a container any more and sends it none,
// or when ctx ends.
func (p *predecessor) drain(ctx context.Context, r lofn.Replica) error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	drained, asked := p.draining[r.ID]
	if !asked {
		drained = make(chan struct{})
		p.draining[r.ID] = drained
	}
	p.mu.Unlock()
	if !asked && p.line.Send(message{Drain: &r}) != nil {
		return nil // it is gone
	}
	select {
	case <-drained:
		return nil
	case <-p.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wake has poke told of functions that have calls waiting in it, from now on.
func (p *predecessor) wake(poke func(lofn.Ref)) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.poke = poke
}

// heard takes in what it says of containers.
func (p *predecessor) heard(m message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if drained := p.draining[m.Drained]; drained != nil {
		delete(p.draining, m.Drained)
		close(drained)
	}
	if m.Waiting == nil {
		return
	}
	p.calls = make(map[lofn.Ref]int)
	for _, w := range *m.Waiting {
		p.calls[w.Function] = w.Count
		if p.poke != nil {
			// It goes on saying so: one that comes too early is no loss. The lock is
			// one that the scaler's own questions need.
			go p.poke(w.Function)
		}
	}
}

// forget is for its end: nothing waits in it any more.
func (p *predecessor) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = nil
}

// listen keeps what the predecessor's replicas write, and takes in what it says,
// to its end.
func (p *predecessor) listen(j *journal) {
	defer close(p.gone)
	defer p.forget()
	outputs := make(adopted)
	defer outputs.close()
	for {
		var m message
		if err := p.line.Receive(context.Background(), &m); err != nil {
			return
		}
		if m.Output != nil {
			outputs.take(j, m.Output)
		}
		p.heard(m)
	}
}

// await waits for the predecessor's end, or for ctx.
func (p *predecessor) await(ctx context.Context) {
	if p == nil {
		return
	}
	select {
	case <-p.gone:
	case <-ctx.Done():
	}
}

// isGone reports whether it has ended, or there was none.
func (p *predecessor) isGone() bool {
	if p == nil {
		return true
	}
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// hurry tells the predecessor, if there is one, that the time of a stop is all
// it has left.
func (p *predecessor) hurry() {
	if p != nil {
		_ = p.line.Send(message{Step: stopping})
	}
}

// successionTime is how long a new process may take until its replicas are
// ready. It is less than upgradeTime, so that it can say what it waited for.
const successionTime = 2 * time.Minute

// catchUp waits until as many replicas are ready as the predecessor has, where
// as many are wanted.
func (p *platform) catchUp(ctx context.Context) error {
	if p.before == nil {
		return nil
	}
	limit := time.NewTimer(successionTime)
	defer limit.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		lacking := p.lacking()
		if len(lacking) == 0 {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil // told to stop
		case <-p.before.gone:
			return nil // nobody else serves: better some functions than none
		case <-limit.C:
			return fmt.Errorf("not ready within %s, so the process before goes on: %s; the functions' logs say why", successionTime, strings.Join(lacking, ", "))
		}
	}
}

// lacking names the functions that have fewer ready replicas than they had.
func (p *platform) lacking() []string {
	had := p.before.estate.Ready
	var names []string
	for _, c := range p.reconciler.Counts() {
		if c.Ready < min(c.Wanted, had[c.Function.Host()]) {
			names = append(names, c.Function.Host())
		}
	}
	slices.Sort(names)
	return names
}

// legacy is what the process after this one gets.
func (p *platform) legacy() *estate {
	e := &estate{Ready: make(map[string]int), UploadSecret: p.registry.UploadSecret(), Digests: p.provider.Digests(), Workers: p.workers()}
	for _, c := range p.reconciler.Counts() {
		if c.Ready > 0 {
			e.Ready[c.Function.Host()] = c.Ready
		}
	}
	if p.before != nil {
		e.Digests = append(e.Digests, p.before.estate.Digests...)
	}
	return e
}

// errLost ends a process whose successor did.
var errLost = errors.New("the process that took over ended")
