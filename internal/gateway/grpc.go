package gateway

import (
	"context"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"lofn"
	"lofn/internal/problem"
)

// isGRPC reports whether the client speaks gRPC, and so looks for the outcome
// of a call in its trailers.
func isGRPC(r *http.Request) bool {
	return r.ProtoMajor == 2 && lofn.IsGRPC(r.Header.Get("Content-Type"))
}

// headerGRPCTimeout is how long a gRPC client waits: up to eight digits and a
// unit. It travels on to the function.
const headerGRPCTimeout = "Grpc-Timeout"

// limitGRPC shortens the call's time to the client's. What makes no sense is
// for the function to refuse.
func (c *call) limitGRPC(asked string) {
	if len(asked) < 2 || len(asked) > 9 {
		return
	}
	number, unit := asked[:len(asked)-1], asked[len(asked)-1]
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return
	}
	units := map[byte]time.Duration{
		'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
	}
	if u := units[unit]; u > 0 && n <= uint64(math.MaxInt64/u) {
		c.shorten(time.Duration(n)*u, "the caller's grpc-timeout")
	}
}

// refuseGRPC answers with nothing but trailers, which gRPC sends as headers. A
// client would make less of an HTTP status: of 504 that it may try again.
func refuseGRPC(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/grpc")
	problem.GRPC(w.Header(), err)
	w.WriteHeader(http.StatusOK)
	if counted, ok := w.(*statusWriter); ok {
		counted.status = problem.Status(err)
	}
}

// grpcBody is the body of a gRPC answer. One that breaks off ends with the
// reason in its trailers.
type grpcBody struct {
	io.ReadCloser
	answer *http.Response
}

func (b *grpcBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	ctx := b.answer.Request.Context()
	if err == nil || err == io.EOF || ctx.Err() == context.Canceled {
		return n, err
	}
	c := callOf(b.answer.Request)
	reason := lofn.Errorf(lofn.Unreachable, "function %s broke the call off; its log may say why", c.ref)
	if ctx.Err() != nil {
		reason = c.expired()
	}
	b.answer.Trailer = make(http.Header)
	problem.GRPC(b.answer.Trailer, reason)
	return n, io.EOF
}
