package app

import (
	"context"
	"iter"
	"sync"
	"time"

	"lofn"
	"lofn/internal/handover"
	"lofn/internal/provider/fleet"
)

// lentContainers are containers that another process may lead from some moment
// on: then it is that one which tells what becomes of them, and of those that it
// starts, so that calls which are still here find them.
type lentContainers struct {
	containers
	board *fleet.Board
	ended context.CancelFunc
	done  chan struct{}

	mu sync.Mutex
	// away says that the other process leads.
	away bool
	// ours are the containers as this process knows them, theirs what the other
	// one said.
	ours, theirs map[string]lofn.Replica
}

func lend(c containers) *lentContainers {
	ctx, cancel := context.WithCancel(context.Background())
	l := &lentContainers{
		containers: c, board: fleet.NewBoard(), ended: cancel, done: make(chan struct{}),
		ours: make(map[string]lofn.Replica), theirs: make(map[string]lofn.Replica),
	}
	go func() {
		defer close(l.done)
		for r := range c.Watch(ctx) {
			l.note(r)
		}
	}()
	return l
}

// Watch implements lofn.Provider.
func (l *lentContainers) Watch(ctx context.Context) iter.Seq[lofn.Replica] { return l.board.Watch(ctx) }

// Detach implements containers.
func (l *lentContainers) Detach(ctx context.Context) error {
	err := l.containers.Detach(ctx)
	l.ended()
	<-l.done
	return err
}

func (l *lentContainers) note(r lofn.Replica) {
	l.mu.Lock()
	defer l.mu.Unlock()
	keep(l.ours, r)
	if !l.away {
		l.board.Post(r)
	}
}

func keep(latest map[string]lofn.Replica, r lofn.Replica) {
	if r.State == lofn.Gone {
		delete(latest, r.ID)
		return
	}
	latest[r.ID] = r
}

// Pause implements containers: another process is about to lead them.
func (l *lentContainers) Pause() {
	l.mu.Lock()
	l.away = true
	l.mu.Unlock()
	l.containers.Pause()
}

// heard takes in what the other process says of a container.
func (l *lentContainers) heard(r lofn.Replica) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away {
		keep(l.theirs, r)
		l.board.Post(r)
	}
}

// Resume implements containers: the other process is gone, and what it started
// is nobody's.
func (l *lentContainers) Resume() {
	l.mu.Lock()
	l.away = false
	for id, r := range l.theirs {
		if _, known := l.ours[id]; !known {
			r.State, r.Network, r.Address, r.Reason = lofn.Gone, "", "", ""
			l.board.Post(r)
		}
	}
	clear(l.theirs)
	for _, r := range l.ours {
		l.board.Post(r)
	}
	l.mu.Unlock()
	l.containers.Resume()
}

// drain returns when no call is on a container any more, neither here nor in the
// process before this one, or when ctx ends.
func (p *platform) drain(ctx context.Context, r lofn.Replica) error {
	there := make(chan error, 1)
	go func() { there <- p.before.drain(ctx, r) }()
	here := p.pool.Drain(ctx, r)
	if err := <-there; err != nil {
		return err
	}
	return here
}

// heir is the process that takes this one's place.
type heir struct {
	*handover.Successor
	// serves says that it does, and will not fail any more. Until then its
	// containers are not kept from calls here: they may be ours again.
	serves bool
	// drains are those that it wanted to stop before.
	drains []lofn.Replica
}

// attend does what the heir asks, until the line ends or a step is taken: then
// it returns nil, or an error if it is not the one expected.
func (p *platform) attend(ctx context.Context, h *heir, s step) error {
	for {
		var m message
		if err := h.Receive(ctx, &m); err != nil {
			return err
		}
		switch {
		case m.Container != nil:
			p.containers.heard(*m.Container)
		case m.Drain != nil && h.serves:
			go p.drainFor(h, *m.Drain)
		case m.Drain != nil:
			h.drains = append(h.drains, *m.Drain)
		default:
			return m.is(s)
		}
	}
}

// drainFor tells the heir when it may stop a container.
func (p *platform) drainFor(h *heir, r lofn.Replica) {
	// An error is that this process ends, and the line with it.
	if p.drain(context.Background(), r) == nil {
		_ = h.Send(message{Drained: r.ID})
	}
}

// serveUnder does what the heir asks while calls end here, and calls stop when
// it is told to stop. It returns whether it was.
func (p *platform) serveUnder(h *heir, stop func()) <-chan bool {
	h.serves = true
	for _, r := range h.drains {
		go p.drainFor(h, r)
	}
	told := make(chan bool, 1)
	go func() {
		err := p.attend(context.Background(), h, stopping)
		told <- err == nil
		for err == nil {
			stop()
			// It would wait if nobody took what it says.
			err = p.attend(context.Background(), h, stopping)
		}
	}()
	return told
}

// The pauses between two looks for calls that wait for containers.
const (
	shortLook = 20 * time.Millisecond
	longLook  = 250 * time.Millisecond
)

// confess tells the heir of the calls that wait here for containers, for
// only that one starts some, until ctx ends.
func (p *platform) confess(ctx context.Context, h *heir) {
	said := false
	for pause := shortLook; ; pause = min(2*pause, longLook) {
		calls := []waitingCalls{} // for nil would be no message
		for _, c := range p.reconciler.Counts() {
			if _, n := p.pool.Load(c.Function); n > 0 && c.Runtime == lofn.RuntimeContainer {
				calls = append(calls, waitingCalls{c.Function, n})
			}
		}
		if len(calls) > 0 {
			pause = shortLook
		}
		if len(calls) > 0 || said {
			if h.Send(message{Waiting: &calls}) != nil {
				return
			}
		}
		said = len(calls) > 0
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// report tells the process before this one what becomes of the containers, until
// it is gone or ctx ends.
func (p *platform) report(ctx context.Context) {
	if p.before == nil {
		return
	}
	for r := range p.containers.Watch(ctx) {
		if p.before.line.Send(message{Container: &r}) != nil {
			return
		}
	}
}

// loadOf is a pool whose calls are counted together with those that wait in the
// process before this one.
type loadOf struct{ p *platform }

func (l loadOf) Sample(ref lofn.Ref) lofn.Load {
	load := l.p.pool.Sample(ref)
	load.Waiting += l.p.before.waiting(ref)
	return load
}
