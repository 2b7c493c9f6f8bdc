package watchdog

import (
	"errors"
	"os"
	"time"
)

// watch reads from a client that waits for its answer, to find out when it
// leaves: then the function's work is in vain, and its connection is closed.
type watch struct {
	done chan struct{}
	// next[:n] is what the client sent meanwhile: the beginning of its next
	// request. A client that sends is there.
	next [1]byte
	n    int
	left bool
}

// startWatching has the client watched until stopWatching, and leaves the
// function all the time that the call has.
func (e *exchange) startWatching() {
	_ = e.up.SetReadDeadline(e.deadline)
	if e.front.server.isKilled() {
		_ = e.up.SetDeadline(past) // which was undone
	}
	if e.watch != nil || e.front.end > e.front.start+len(e.request) {
		return
	}
	w := &watch{done: make(chan struct{})}
	e.watch = w
	_ = e.front.SetReadDeadline(time.Time{})
	go func() {
		defer close(w.done)
		n, err := e.front.Read(w.next[:])
		w.n = n
		if n == 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
			w.left = true
			_ = e.up.SetDeadline(past)
		}
	}()
}

// stopWatching ends the watch and reports whether the client is still there.
func (e *exchange) stopWatching() bool {
	w := e.watch
	if w == nil {
		return true
	}
	_ = e.front.SetReadDeadline(past)
	e.front.timed = true // for the next request to undo
	<-w.done
	e.watch = nil
	if w.n > 0 {
		e.front.push(w.next[0])
	}
	return !w.left
}
