package watchdog

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"lofn"
)

// errShutdown is why calls end that Shutdown did not wait for.
var errShutdown = errors.New("the function is shutting down")

// A timeoutError says which limit ran out and how long it was.
type timeoutError struct {
	name  string
	limit time.Duration
}

func (e *timeoutError) Error() string {
	return fmt.Sprintf("the function had %s (%s) and was stopped", e.limit, e.name)
}

func (e *timeoutError) Unwrap() error { return context.DeadlineExceeded }

// within bounds a call by its limit and by the life of the watchdog.
func (w *Watchdog) within(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(r.Context())
	unhook := context.AfterFunc(w.life, func() { cancel(context.Cause(w.life)) })
	stop := func() { unhook(); cancel(nil) }

	limit := w.limit(w.config.Mode == HTTP && endless(r), r.Header.Get(lofn.HeaderTimeout))
	if limit == nil {
		return ctx, stop
	}
	ctx, stopTimer := context.WithTimeoutCause(ctx, limit.limit, limit)
	return ctx, func() { stopTimer(); stop() }
}

// limit is exec_timeout, or stream_timeout for a stream, or X-Timeout if that
// is shorter. It is nil if there is none.
func (w *Watchdog) limit(stream bool, asked string) *timeoutError {
	limit := &timeoutError{"exec_timeout", w.config.ExecTimeout}
	if stream {
		limit = &timeoutError{"stream_timeout", w.config.StreamTimeout}
	}
	if asked != "" {
		d, err := lofn.ParseSeconds(asked)
		if err == nil && d > 0 && (limit.limit == 0 || d < limit.limit) {
			limit = &timeoutError{lofn.HeaderTimeout, d}
		}
	}
	if limit.limit == 0 {
		return nil
	}
	return limit
}

// fail answers for a job that ended with err, before anything of the answer
// was sent. onTimeout is the status of the mode for a deadline that passed.
func (w *Watchdog) fail(rw *recorder, err error, onTimeout int) {
	var exit *exec.ExitError
	var start startError
	var input inputError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &exit):
		rw.Header().Del("Content-Type")
		http.Error(rw, exit.Error(), http.StatusInternalServerError)
	case errors.Is(err, syscall.E2BIG):
		refuse(rw, http.StatusRequestHeaderFieldsTooLarge, component,
			"The headers are too large for the environment of the function's process.\n")
	case errors.As(err, &start):
		w.options.Log.Error("could not start a function's process", "process", w.config.Process[0], "error", err)
		refuse(rw, http.StatusInternalServerError, component,
			fmt.Sprintf("The function's process %q could not be started: %v\n", w.config.Process[0], start))
	case errors.As(err, &tooLarge):
		refuse(rw, http.StatusRequestEntityTooLarge, component,
			fmt.Sprintf("The body is larger than %d bytes.\n", tooLarge.Limit))
	case errors.Is(err, context.DeadlineExceeded):
		refuse(rw, onTimeout, component, fmt.Sprintf("Out of time: %v.\n", err))
	case errors.Is(err, errShutdown):
		refuse(rw, http.StatusServiceUnavailable, component, "The function is shutting down.\n")
	case errors.Is(err, context.Canceled):
		w.abandon(rw)
	case errors.As(err, &input) && errors.Is(err, os.ErrDeadlineExceeded):
		refuse(rw, http.StatusRequestTimeout, component,
			fmt.Sprintf("No more of the body arrived for %s (read_timeout).\n", w.config.ReadTimeout))
	case errors.As(err, &input):
		refuse(rw, http.StatusBadRequest, component, fmt.Sprintf("The body could not be read to its end: %v\n", input))
	default:
		w.options.Log.Error("a call of a function failed", "error", err)
		refuse(rw, http.StatusInternalServerError, component, fmt.Sprintf("The call failed: %v\n", err))
	}
}

// clientClosedRequest is the status of calls whose client has gone.
const clientClosedRequest = 499

// abandon breaks the connection: nobody is there, or what was sent must not
// pass for a whole answer. It does not return.
func (w *Watchdog) abandon(rw *recorder) {
	if rw.status == 0 {
		rw.status = clientClosedRequest
	}
	panic(http.ErrAbortHandler)
}
