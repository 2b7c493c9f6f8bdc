package gateway

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// past is a deadline that ends at once what waits.
var past = time.Unix(1, 0)

// openBothWays lets a function answer while it still reads: by default net/http
// ends a request's body at the first byte of its answer. The proxy may read on
// after the answer is complete, which net/http does not stand, so the function
// returned is to be called at the end of the handler: it ends all reading.
func openBothWays(w http.ResponseWriter, r *http.Request) (end func()) {
	control := http.NewResponseController(w)
	if r.Body == nil || r.Body == http.NoBody || r.ProtoMajor != 1 || control.EnableFullDuplex() != nil {
		return func() {}
	}
	body := &endingBody{ReadCloser: r.Body}
	r.Body = body
	return func() {
		if !body.reading.TryLock() {
			// Whoever reads waits for a client that has its answer.
			_ = control.SetReadDeadline(past)
			body.reading.Lock()
		}
		body.ended = true
		body.reading.Unlock()
	}
}

// endingBody is a request's body that can be ended from outside.
type endingBody struct {
	io.ReadCloser
	reading sync.Mutex
	ended   bool
}

func (b *endingBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.ended {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.ReadCloser.Read(p)
}

// Close does nothing: the server closes the body when the handler is done.
func (b *endingBody) Close() error { return nil }
