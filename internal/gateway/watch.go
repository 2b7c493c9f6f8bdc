package gateway

import (
	"errors"
	"os"
	"time"

	"lofn"
)

// past is a deadline that ends at once what waits.
var past = time.Unix(1, 0)

// watch reads from a client that waits for its answer, to find out when it
// leaves: then the function's work is in vain and its connection is closed.
type watch struct {
	done chan struct{}
	// next[:n] is what the client sent meanwhile: the begin of its next request.
	next [1]byte
	n    int
	left bool
}

// startWatching has the client watched until stopWatching.
func (e *exchange) startWatching(link lofn.Link) {
	_ = link.SetReadDeadline(e.deadline())
	if e.watch != nil || e.conn.end > e.conn.start+e.size {
		return // a client that sent its next request is there
	}
	w := &watch{done: make(chan struct{})}
	e.watch = w
	_ = e.conn.SetReadDeadline(time.Time{})
	go func() {
		defer close(w.done)
		n, err := e.conn.Read(w.next[:])
		w.n = n
		if n == 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
			w.left = true
			_ = link.SetDeadline(past)
		}
	}()
}

// stopWatching ends the watch and reports whether the client is still there.
func (e *exchange) stopWatching() bool {
	w := e.watch
	if w == nil {
		return true
	}
	_ = e.conn.SetReadDeadline(past)
	<-w.done
	e.watch = nil
	if w.n > 0 {
		e.conn.push(w.next[0])
	}
	return !w.left
}
