package gateway

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// past is a deadline that ends at once what waits.
var past = time.Unix(1, 0)

// upload is the body of a call's request. It lets a function answer while it
// still reads, and sees to it that what nobody read of one request is never
// taken for the next: a connection whose request was answered before its end
// is closed. Of the requests that net/http cuts up by itself, as in HTTP/2,
// there is none; its methods take nil.
type upload struct {
	io.ReadCloser
	control *http.ResponseController

	// whole is set once all of the body was read.
	whole atomic.Bool

	reading sync.Mutex
	ended   bool // the rest must not be read
}

// receive puts itself between the request and its body. The request must be a
// copy: by the body of its own the server tells how much of it was read.
func receive(w http.ResponseWriter, r *http.Request) *upload {
	if r.Body == nil || r.Body == http.NoBody || r.ProtoMajor != 1 {
		return nil
	}
	u := &upload{ReadCloser: r.Body, control: http.NewResponseController(w)}
	r.Body = u
	return u
}

func (u *upload) Read(p []byte) (int, error) {
	u.reading.Lock()
	defer u.reading.Unlock()
	if u.ended {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := u.ReadCloser.Read(p)
	if err == io.EOF {
		u.whole.Store(true)
	}
	return n, err
}

// Close does nothing: the server closes the body when the handler is done.
func (u *upload) Close() error { return nil }

// answered marks the header of a function's answer. If the body was not read
// to its end yet, it may still be, at the same time: net/http would discard
// it, but not where the connection ends with the answer.
func (u *upload) answered(h http.Header) {
	if u != nil && !u.whole.Load() {
		h.Set("Connection", "close")
	}
}

// refused marks the header of the platform's own answer, to which the body is
// of no more interest. Unless it was too large, or somebody waits for more of
// it, net/http discards what little is left, and the connection goes on.
func (u *upload) refused(h http.Header, overrun bool) {
	if u == nil || u.whole.Load() {
		return
	}
	if overrun || !u.reading.TryLock() {
		h.Set("Connection", "close")
		return
	}
	defer u.reading.Unlock()
	u.ended = true
	_ = u.control.SetReadDeadline(time.Now().Add(lingerTime))
}

// end ends all reading. The proxy may read on after the answer is complete,
// which net/http does not stand.
func (u *upload) end() {
	if u == nil || u.whole.Load() {
		return // a deadline now would be taken for the client's end
	}
	if !u.reading.TryLock() {
		// Whoever reads waits for a client that has its answer.
		_ = u.control.SetReadDeadline(past)
		u.reading.Lock()
	}
	defer u.reading.Unlock()
	if !u.ended {
		u.ended = true
		_ = u.control.SetReadDeadline(time.Now().Add(lingerTime))
	}
}
