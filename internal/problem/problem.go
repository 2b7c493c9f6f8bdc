// Package problem is the one table from an error's code to an HTTP status, and
// the one way in which the front doors answer with an error: a line of plain
// text, which clients of the OpenFaaS contract print as it is.
package problem

import (
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"

	"lofn"
)

// Status returns the HTTP status for an error.
func Status(err error) int {
	switch lofn.CodeOf(err) {
	case lofn.Invalid:
		return tooLarge(err, http.StatusBadRequest)
	case lofn.Unprocessable:
		return http.StatusUnprocessableEntity
	case lofn.NotFound:
		return http.StatusNotFound
	case lofn.Exists, lofn.Conflict:
		return http.StatusConflict
	case lofn.Unauthenticated:
		return http.StatusUnauthorized
	case lofn.Forbidden:
		return http.StatusForbidden
	case lofn.Overloaded:
		return http.StatusTooManyRequests
	case lofn.Full:
		return http.StatusInsufficientStorage
	case lofn.Unavailable:
		return http.StatusServiceUnavailable
	case lofn.DeadlineExceeded:
		return http.StatusGatewayTimeout
	case lofn.Unreachable:
		return http.StatusBadGateway
	case lofn.Unimplemented:
		return http.StatusNotImplemented
	default:
		return tooLarge(err, http.StatusInternalServerError)
	}
}

// tooLarge recognises a body that http.MaxBytesReader cut off.
func tooLarge(err error, otherwise int) int {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge
	}
	return otherwise
}

// Write answers with the error. Faults of the platform itself are logged.
func Write(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	status := Status(err)
	if status == http.StatusInternalServerError {
		log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if wait := retryAfter(err); wait > 0 || status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(max(wait, 1)))
	}
	http.Error(w, err.Error(), status)
}

// retryAfter is when to call again, in whole seconds, 0 if nobody said.
func retryAfter(err error) int {
	e, _ := errors.AsType[*lofn.Error](err)
	if e == nil {
		return 0
	}
	return int(math.Ceil(e.RetryAfter.Seconds()))
}

// Handler is an http.Handler that may fail.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Handle makes an http.Handler of h that answers h's errors with Write. h must
// not fail once it has written anything.
func Handle(log *slog.Logger, h Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			Write(w, r, log, err)
		}
	})
}
