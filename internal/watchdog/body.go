package watchdog

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// incoming is a request's body that may be read while the answer is written,
// and possibly not to its end.
type incoming struct {
	from     io.ReadCloser
	control  *http.ResponseController
	patience time.Duration // for each piece; 0 is no bound
	ended    atomic.Bool
	reading  sync.Mutex // held by Read
	over     bool       // nobody reads any more; under reading

	mu          sync.Mutex
	interrupted bool // for good
}

// newIncoming returns nil where there is no body.
func newIncoming(rw http.ResponseWriter, r *http.Request, patience time.Duration) *incoming {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	return &incoming{from: r.Body, control: http.NewResponseController(rw), patience: patience}
}

// Read wraps failures in an inputError.
func (b *incoming) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.over {
		return 0, inputError{http.ErrBodyReadAfterClose}
	}
	b.extend(b.patience)
	n, err := b.from.Read(p)
	b.extend(0)
	if errors.Is(err, io.EOF) {
		b.ended.Store(true)
		return n, io.EOF
	}
	if err != nil {
		return n, inputError{err}
	}
	return n, nil
}

// pending reports whether some of the body may be on its way still. A
// connection must not be used for another request then: net/http would take
// what is left for that request, if reading was interrupted.
func (b *incoming) pending() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.interrupted || !b.ended.Load()
}

// extend gives the client so long for the next piece; 0 is no bound.
func (b *incoming) extend(d time.Duration) {
	if b.patience == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.interrupted {
		return
	}
	deadline := time.Time{}
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	_ = b.control.SetReadDeadline(deadline)
}

// Close does nothing: the server closes the body when the handler is done.
func (b *incoming) Close() error { return nil }

// openBothWays lets the answer begin before the end of the body, which net/http
// would otherwise end then. Writers that cannot do it are the caller's choice.
func (b *incoming) openBothWays() { _ = b.control.EnableFullDuplex() }

// end returns when nobody reads, nor will: net/http does not stand that after
// the end of the handler. What it reads itself of a body that has not ended, it
// does not wait for without end.
func (b *incoming) end() {
	if b == nil {
		return
	}
	if b.pending() {
		defer func() { _ = b.control.SetReadDeadline(time.Now().Add(politeness)) }()
	}
	if !b.reading.TryLock() {
		b.interrupt() // whoever reads waits for a client that has its answer
		b.reading.Lock()
	}
	defer b.reading.Unlock()
	b.over = true
}

// interrupt makes a Read that waits for the client return. A body that has
// ended is left alone: net/http watches the connection by then, and would take
// the interruption for the end of the client, at the cost of its next call.
func (b *incoming) interrupt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended.Load() {
		return
	}
	b.interrupted = true
	if b.control.SetReadDeadline(time.Unix(1, 0)) != nil {
		_ = b.from.Close()
	}
}

// politeness is how long net/http may read on after the answer, so that
// closing the connection on a client that still sends does not take the answer
// from it.
const politeness = time.Second

// resume ends an interrupt, if there was one. Nobody reads at the time.
func (b *incoming) resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.interrupted {
		_ = b.control.SetReadDeadline(time.Now().Add(politeness))
	}
}

// readTo copies the body until ctx ends, whose cause is the error then.
func (b *incoming) readTo(ctx context.Context, to io.Writer) (int64, error) {
	if b == nil {
		return 0, nil
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(interrupted); b.interrupt() })
	n, err := io.Copy(to, b)
	if !stop() {
		<-interrupted
		b.resume()
		return n, context.Cause(ctx)
	}
	return n, err
}

// An inputError says that the request's body could not be read to its end.
type inputError struct{ error }

func (e inputError) Unwrap() error { return e.error }
