package fleet

import (
	"maps"
	"slices"

	"lofn"
)

// board holds the latest state of each replica and hands changes to watchers.
// It is guarded by Fleet.mu.
type board struct {
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

func newBoard() board {
	return board{latest: make(map[string]lofn.Replica), watchers: make(map[*watcher]struct{})}
}

func (b *board) post(r lofn.Replica) {
	if r.State == lofn.Gone {
		delete(b.latest, r.ID)
	} else {
		b.latest[r.ID] = r
	}
	for w := range b.watchers {
		w.put(r)
	}
}

func (b *board) join() *watcher {
	w := &watcher{unread: maps.Clone(b.latest), order: slices.Collect(maps.Keys(b.latest)), news: make(chan struct{}, 1)}
	b.watchers[w] = struct{}{}
	return w
}

func (b *board) leave(w *watcher) { delete(b.watchers, w) }

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

func (w *watcher) take() (r lofn.Replica, ok bool) {
	if len(w.order) == 0 {
		return lofn.Replica{}, false
	}
	id := w.order[0]
	w.order = w.order[1:]
	r = w.unread[id]
	delete(w.unread, id)
	return r, true
}
