package fleet

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"

	"lofn"
)

// Board is where replicas are announced: it knows the latest state of each, and
// tells those who watch. It is safe for concurrent use. Its methods do not wait for readers, so it
// may be posted to with a lock held.
type Board struct {
	mu       sync.Mutex
	latest   map[string]lofn.Replica
	watchers map[*watcher]struct{}
}

// watcher is one reader with what it has not read yet: for each replica the
// latest state, in the order in which the replicas first changed.
type watcher struct {
	unread map[string]lofn.Replica
	order  []string
	news   chan struct{}
}

// NewBoard returns a Board without replicas.
func NewBoard() *Board {
	return &Board{latest: make(map[string]lofn.Replica), watchers: make(map[*watcher]struct{})}
}

// Post makes a new state of a replica known. Whoever has seen it on the Board
// can be sure that all others see it there before anything that is posted
// later.
func (b *Board) Post(r lofn.Replica) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.State == lofn.Gone {
		delete(b.latest, r.ID)
	} else {
		b.latest[r.ID] = r
	}
	for w := range b.watchers {
		w.put(r)
	}
}

// Watch is as in lofn.Provider.
func (b *Board) Watch(ctx context.Context) iter.Seq[lofn.Replica] {
	return func(yield func(lofn.Replica) bool) {
		w := b.join()
		defer b.leave(w)
		for {
			r, ok := b.take(w)
			if ctx.Err() != nil || ok && !yield(r) {
				return
			}
			if ok {
				continue
			}
			select {
			case <-w.news:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (b *Board) join() *watcher {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := &watcher{unread: maps.Clone(b.latest), order: slices.Collect(maps.Keys(b.latest)), news: make(chan struct{}, 1)}
	b.watchers[w] = struct{}{}
	return w
}

func (b *Board) leave(w *watcher) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.watchers, w)
}

// put is called with the lock held.
func (w *watcher) put(r lofn.Replica) {
	if _, ok := w.unread[r.ID]; !ok {
		w.order = append(w.order, r.ID)
	}
	w.unread[r.ID] = r
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// take returns what the reader shall see next, if there is anything.
func (b *Board) take(w *watcher) (r lofn.Replica, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(w.order) == 0 {
		return lofn.Replica{}, false
	}
	id := w.order[0]
	w.order = w.order[1:]
	r = w.unread[id]
	delete(w.unread, id)
	return r, true
}
