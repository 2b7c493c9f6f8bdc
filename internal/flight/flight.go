// Package flight does work once for all who want it at the same time, tells
// them how far it is, and gives it up when nobody waits for it any more.
package flight

import (
	"context"
	"sync"
	"time"
)

// reportEvery is how often those who wait are told how far the work is.
const reportEvery = 200 * time.Millisecond

// Work makes a T. What it tells to report is one line that says how far it is;
// it may do so often, from several goroutines.
type Work[T any] func(ctx context.Context, report func(string)) (T, error)

// Group keeps the work under way apart by keys. The zero Group is ready for
// use; its methods are safe for concurrent use.
type Group[T any] struct {
	mu      sync.Mutex
	flights map[string]*flight[T]
}

// flight is one piece of work that several callers wait for.
type flight[T any] struct {
	// waiting counts them; Group.mu guards it.
	waiting int
	cancel  context.CancelFunc
	// done is closed when result and err are set.
	done   chan struct{}
	result T
	err    error

	mu   sync.Mutex
	said string
}

// Join returns what the work with the key comes to, starting it if it is not
// under way. The work's context has the values of the first caller's, and ends
// when the last caller has left. A caller leaves when its ctx ends, with the
// error of that. Progress, unless it is nil, is called by Join itself with the
// latest report, not often.
func (g *Group[T]) Join(ctx context.Context, key string, work Work[T], progress func(string)) (T, error) {
	f := g.board(ctx, key, work)
	if progress == nil {
		progress = func(string) {}
	}
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for told := ""; ; {
		select {
		case <-f.done:
			return f.result, f.err
		case <-ctx.Done():
			g.leave(key, f)
			var none T
			return none, ctx.Err()
		case <-tick.C:
			if said := f.latest(); said != told {
				told = said
				progress(said)
			}
		}
	}
}

// Flying reports whether work with the key is under way, while hold runs none
// begins or ends.
func (g *Group[T]) Flying(key string, hold func(flying bool)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	hold(g.flights[key] != nil)
}

func (g *Group[T]) board(ctx context.Context, key string, work Work[T]) *flight[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.flights[key]; f != nil {
		f.waiting++
		return f
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight[T]{waiting: 1, cancel: cancel, done: make(chan struct{})}
	if g.flights == nil {
		g.flights = make(map[string]*flight[T])
	}
	g.flights[key] = f
	go func() {
		defer cancel()
		f.result, f.err = work(ctx, f.report)
		g.land(key, f)
		close(f.done)
	}()
	return f
}

func (g *Group[T]) leave(key string, f *flight[T]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		f.cancel()
		// Who comes next must not board a flight that was called off.
		g.forget(key, f)
	}
}

func (g *Group[T]) land(key string, f *flight[T]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget(key, f)
}

func (g *Group[T]) forget(key string, f *flight[T]) {
	if g.flights[key] == f {
		delete(g.flights, key)
	}
}

func (f *flight[T]) report(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = line
}

func (f *flight[T]) latest() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.said
}
