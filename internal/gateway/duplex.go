package gateway

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// past is a deadline that ends at once what waits.
var past = time.Unix(1, 0)

// openBothWays lets a function answer while it still reads: by default net/http
// ends a request's body at the first byte of its answer. In exchange net/http no
// longer sees to it that what is left of a body is not taken for the next
// request; statusWriter does, and the request to serve is another one, since
// net/http looks at the body of its own.
//
// The proxy may read on after the answer is complete, which net/http does not
// stand, and waits for a client that sends nothing beyond the call's deadline.
// So reading ends with the request's context, and with end, which is to be
// called at the end of the handler.
func openBothWays(w *statusWriter, r *http.Request) (both *http.Request, end func()) {
	control := http.NewResponseController(w)
	if r.Body == nil || r.Body == http.NoBody {
		return r, func() {}
	}
	if r.ProtoMajor == 1 {
		_ = control.EnableFullDuplex() // which HTTP/2 always is
	}
	body := &endingBody{ReadCloser: r.Body, left: r.ContentLength, alone: r.ProtoMajor > 1, control: control}
	w.body = body
	both = r.WithContext(r.Context())
	both.Body = body
	expired := make(chan struct{})
	stop := context.AfterFunc(r.Context(), func() {
		defer close(expired)
		body.interrupt()
	})
	return both, func() {
		if !stop() {
			<-expired
		}
		body.end()
	}
}

// endingBody is a request's body that can be ended from outside.
type endingBody struct {
	io.ReadCloser
	reading sync.Mutex
	closed  bool
	left    int64 // of the announced length; negative if there is none
	// ended is set when all of the body was read, failure when it cannot be.
	ended   atomic.Bool
	failure atomic.Pointer[error]
	// alone is set if no other request can follow it, as on a stream of HTTP/2.
	alone   bool
	control *http.ResponseController
}

// interrupt makes a Read return that waits for the client.
func (b *endingBody) interrupt() {
	if !b.ended.Load() {
		_ = b.control.SetReadDeadline(past)
	}
}

// end makes Read fail from now on.
func (b *endingBody) end() {
	if !b.reading.TryLock() {
		b.interrupt() // the client has its answer
		b.reading.Lock()
	}
	b.closed = true
	b.reading.Unlock()
	if !b.ended.Load() && !b.alone {
		// net/http reads on, so that the answer is not lost with what was not
		// read, and then closes the connection.
		_ = b.control.SetReadDeadline(time.Now().Add(lingerTime))
	}
}

// discardSize bounds what is read for nobody, as net/http does.
const discardSize = 256 << 10

// discard reads what is left of a body that nobody will read, if it is little:
// its connection can go on then. A client that waits to be told to send it is
// not told.
func (b *endingBody) discard(r *http.Request) {
	if b == nil || b.alone || r.Header.Get("Expect") != "" || !b.reading.TryLock() {
		return
	}
	defer b.reading.Unlock()
	if b.closed || b.left <= 0 || b.left > discardSize {
		return
	}
	_ = b.control.SetReadDeadline(time.Now().Add(lingerTime))
	if _, err := io.CopyN(io.Discard, b.ReadCloser, b.left); err == nil {
		b.ended.Store(true)
	}
}

func (b *endingBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	switch {
	case err == io.EOF || b.left == 0 && n > 0:
		b.ended.Store(true)
	case err != nil:
		b.failure.Store(&err)
	}
	return n, err
}

// Close does nothing: the server closes the body when the handler is done.
func (b *endingBody) Close() error { return nil }

// isOpen reports whether some of the body may still be on its way, or is beyond
// making out. What follows it cannot be told from it then.
func (b *endingBody) isOpen() bool { return b != nil && !b.alone && !b.ended.Load() }

// broken is why the body cannot be read, nil if it can.
func (b *endingBody) broken() error {
	if b == nil || b.failure.Load() == nil {
		return nil
	}
	return *b.failure.Load()
}
