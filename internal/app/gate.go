package app

import (
	"context"
	"net/http"
	"sync"
)

// gate is before the control API, the registry and the web page: it holds
// their requests while the data changes hands, and leads them to the process
// that has it in the end.
type gate struct {
	here http.Handler

	mu      sync.Mutex
	state   passage
	there   http.Handler
	changed chan struct{} // closed and replaced when the state changes
	inside  int
	empty   chan struct{} // closed when the last one leaves a gate that holds
}

// passage is what a gate does with requests.
type passage int

const (
	passing passage = iota
	holding
	refusing
	forwarding
)

func newGate(here http.Handler) *gate {
	return &gate{here: here, changed: make(chan struct{})}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch g.enter(r.Context()) {
	case passing:
		defer g.leave()
		g.here.ServeHTTP(w, r)
	case forwarding:
		g.there.ServeHTTP(w, r)
	default:
		w.Header().Set("Retry-After", "5")
		http.Error(w, errUpgrading().Error(), http.StatusServiceUnavailable)
	}
}

// enter waits while the gate holds, and returns what to do. Who may pass must
// leave.
func (g *gate) enter(ctx context.Context) passage {
	for {
		g.mu.Lock()
		state, changed := g.state, g.changed
		if state == passing {
			g.inside++
		}
		g.mu.Unlock()
		if state != holding {
			return state
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return refusing
		}
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// set makes the gate do something else from now on.
func (g *gate) set(state passage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state = state
	close(g.changed)
	g.changed = make(chan struct{})
}

// hold holds what comes, and waits until those inside have left or ctx ends.
func (g *gate) hold(ctx context.Context) {
	g.set(holding)
	g.mu.Lock()
	empty := make(chan struct{})
	if g.inside == 0 {
		close(empty)
	} else {
		g.empty = empty
	}
	g.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
	}
}

// lead sends what comes from now on elsewhere.
func (g *gate) lead(there http.Handler) {
	g.mu.Lock()
	g.there = there
	g.mu.Unlock()
	g.set(forwarding)
}

// forwards reports whether requests are to go elsewhere.
func (g *gate) forwards() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state == forwarding
}
