package watchdog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"lofn"
)

// Options are what the watchdog is given by the program around it.
type Options struct {
	// Start starts a function's process; the default is StartGroup. It may
	// change every field of the command but its standard streams, and must set
	// cmd.Cancel, before it calls cmd.Start, to something that kills the
	// process with all that it started. Cancel is called once more after the
	// process has ended.
	Start func(cmd *exec.Cmd) error
	// Env is the environment of every process; nil means the watchdog's own.
	Env []string
	// Dir is the working directory of every process. In mode static, a
	// relative StaticPath starts here.
	Dir string
	// Root is the folder that stands for "/" where StaticPath is absolute; by
	// default it is "/".
	Root string
	// TempDir takes bodies and answers that are too large for memory, in modes
	// that must have them whole; the default is os.TempDir().
	TempDir string
	// Stderr opens the function's log: once for each process, to be given what
	// it writes to its standard error, and once for the watchdog's own lines.
	// What it returns is closed after the last write. Nil drops all of it.
	Stderr func() io.WriteCloser
	// Log is told what concerns the platform; nil drops it.
	Log *slog.Logger
	// Metrics counts the calls; nil drops the counts.
	Metrics *Metrics
	// Guard is asked whether a call may reach the function, and answers it if
	// not. Nil lets everybody in.
	Guard func(rw http.ResponseWriter, r *http.Request) bool
	// Dial connects to the function in mode http; by default it connects to
	// Config.Upstream.
	Dial func(ctx context.Context) (net.Conn, error)
	// Impatient has a call end when its client lets the watchdog wait for
	// longer than read_timeout for a piece of the body, or than write_timeout
	// to take a piece of the answer. Otherwise only the call's deadline counts.
	Impatient bool
}

// Watchdog is an http.Handler that answers with the function. It is safe for
// concurrent use.
type Watchdog struct {
	config  Config
	options Options
	serve   http.Handler
	lines   *lineLog
	ahead   *ahead                 // nil if no process is started before its call
	buffers sync.Pool              // *[]byte of copyBuffer
	program atomic.Pointer[string] // where the function's program was found

	mu       sync.Mutex
	inflight int
	draining bool
	idle     chan struct{} // closed when draining and the last call ended
	kill     context.CancelCauseFunc
	life     context.Context
	release  func() error // frees what the mode holds open
}

// New returns the watchdog for a configuration from ConfigFromEnv. In mode
// http it relays to Config.Upstream, and does not start the child. An error
// has code Invalid and names the variable at fault.
func New(config Config, options Options) (*Watchdog, error) {
	w := &Watchdog{config: config, options: withDefaults(options), idle: make(chan struct{})}
	w.life, w.kill = context.WithCancelCause(context.Background())
	w.release = func() error { return nil }
	if err := w.choose(); err != nil {
		return nil, err
	}
	w.lines = &lineLog{to: w.options.Stderr()}
	w.buffers.New = func() any { return new(make([]byte, copyBuffer)) }
	if w.config.Prestart > 0 {
		var err error
		if w.ahead, err = w.startAhead(); err != nil {
			return nil, errors.Join(err, w.finish())
		}
	}
	return w, nil
}

func (w *Watchdog) choose() error {
	if w.config.Mode != Static && w.config.Mode != HTTP && len(w.config.Process) == 0 {
		return lofn.Errorf(lofn.Invalid, "fprocess: is required in mode %s: the command line of the function", w.config.Mode)
	}
	var err error
	switch w.config.Mode {
	case Streaming:
		w.serve = http.HandlerFunc(w.stream)
	case Serializing:
		w.serve = http.HandlerFunc(w.serialize)
	case Classic:
		w.serve = http.HandlerFunc(w.classic)
	case Static:
		w.serve, err = w.static()
	case HTTP:
		w.serve, err = w.relay()
	default:
		err = lofn.Errorf(lofn.Invalid, "mode: %q is unknown: use http, streaming, serializing, static or classic", w.config.Mode)
	}
	return err
}

func withDefaults(o Options) Options {
	if o.Start == nil {
		o.Start = StartGroup
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Stderr == nil {
		o.Stderr = func() io.WriteCloser { return discard{} }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = &Metrics{}
	}
	return o
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) Close() error                { return nil }

// ServeHTTP answers one call.
func (w *Watchdog) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	rec := w.record(rw, r)
	defer rec.body.end()
	w.options.Metrics.begin()
	defer func() { w.options.Metrics.end(rec.finalStatus(), r.Method, time.Since(rec.started)) }()
	if !w.enter(rec) {
		return
	}
	defer w.leave()
	if w.options.Guard != nil && !w.options.Guard(rec, r) {
		return
	}
	defer w.access(rec, r)
	w.serve.ServeHTTP(rec, r)
}

// enter admits a call, or answers it.
func (w *Watchdog) enter(rw http.ResponseWriter) bool {
	refusal := w.admit()
	if refusal != nil {
		refuse(rw, refusal.status, refusal.who, refusal.text)
	}
	return refusal == nil
}

// refusal is an answer to a call that is not let in.
type refusal struct {
	status    int
	who, text string
}

// admit counts a call in, until leave, or says why not.
func (w *Watchdog) admit() *refusal {
	w.mu.Lock()
	defer w.mu.Unlock()
	limit := w.config.MaxInflight
	switch {
	case w.draining:
		return &refusal{http.StatusServiceUnavailable, component, "The function is shutting down.\n"}
	case limit > 0 && w.inflight >= limit:
		return &refusal{http.StatusTooManyRequests, "faas-middleware",
			fmt.Sprintf("Concurrent request limit exceeded. Max concurrent requests: %d\n", limit)}
	}
	w.inflight++
	return nil
}

func (w *Watchdog) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inflight--
	if w.draining && w.inflight == 0 {
		close(w.idle)
	}
}

// Inflight returns the number of calls at work.
func (w *Watchdog) Inflight() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inflight
}

// Shutdown refuses new calls with 503 and waits for those at work. When ctx
// ends first it kills their processes, waits for these to be gone, and returns
// the cause of ctx. The watchdog cannot be used again.
func (w *Watchdog) Shutdown(ctx context.Context) error {
	w.drain()
	w.ahead.stop()
	var err error
	select {
	case <-w.idle:
	case <-ctx.Done():
		err = context.Cause(ctx)
		w.kill(errShutdown)
		<-w.idle
	}
	w.kill(errShutdown)
	return errors.Join(err, w.finish())
}

// Renew ends the processes that wait for a call and has others take their
// place, which see what changed around the function since.
func (w *Watchdog) Renew() { w.ahead.renew() }

func (w *Watchdog) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.draining {
		return
	}
	w.draining = true
	if w.inflight == 0 {
		close(w.idle)
	}
}

func (w *Watchdog) finish() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	release := w.release
	w.release = func() error { return nil }
	return errors.Join(release(), w.lines.Close())
}

// component names the watchdog in lofn.HeaderInternal.
const component = "of-watchdog"

// refuse answers in the name of the platform rather than the function.
func refuse(rw http.ResponseWriter, status int, who, text string) {
	h := rw.Header()
	h.Set(lofn.HeaderInternal, who)
	h.Set("Content-Type", "text/plain")
	h.Set("X-Content-Type-Options", "nosniff")
	rw.WriteHeader(status)
	_, _ = io.WriteString(rw, text)
}
