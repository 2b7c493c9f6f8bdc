package queue

import (
	"context"
	"io"
	"net/http"
	"time"

	"lofn"
)

// outcome is what a callback is told.
type outcome struct {
	delivery lofn.Delivery
	// answered says that the function gave an answer. Without one the status is
	// 503 and the body empty, as OpenFaaS has it.
	answered bool
	status   int
	header   http.Header
	size     int64
	took     time.Duration
	body     io.ReadCloser
	// reopen returns the body once more.
	reopen func() (io.ReadCloser, error)
}

func openOutcome(ctx context.Context, d lofn.Delivery) (*outcome, error) {
	result, err := d.Result(ctx)
	if lofn.CodeOf(err) == lofn.NotFound {
		return &outcome{delivery: d, status: http.StatusServiceUnavailable, header: make(http.Header), body: http.NoBody}, nil
	}
	if err != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "the answer of the function cannot be read: %w", err)
	}
	return &outcome{
		delivery: d, answered: true, status: result.Status, header: passable(result.Header), size: result.Size, took: result.Duration, body: result.Body,
		reopen: func() (io.ReadCloser, error) {
			again, err := d.Result(ctx)
			return again.Body, err
		},
	}, nil
}

// passable is the header of an answer without what is about its connection, or
// would mean something else in a request.
func passable(h http.Header) http.Header {
	h = h.Clone()
	if h == nil {
		return make(http.Header)
	}
	for _, name := range []string{
		"Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade",
	} {
		h.Del(name)
	}
	return h
}
