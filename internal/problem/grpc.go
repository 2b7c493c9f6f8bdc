package problem

import (
	"net/http"
	"net/url"
	"strconv"

	"lofn"
)

// Status codes of gRPC, as its documents number them.
const (
	grpcInvalidArgument    = 3
	grpcDeadlineExceeded   = 4
	grpcPermissionDenied   = 7
	grpcResourceExhausted  = 8
	grpcAborted            = 10
	grpcUnimplemented      = 12
	grpcInternal           = 13
	grpcUnavailable        = 14
	grpcUnauthenticated    = 16
	grpcFailedPrecondition = 9
)

// grpcStatus returns gRPC's status code for an error. A client makes the same
// of the HTTP status, save that it would take a deadline and an overload for
// something to try again.
func grpcStatus(err error) int {
	switch lofn.CodeOf(err) {
	case lofn.Invalid, lofn.Unprocessable:
		return grpcInvalidArgument
	case lofn.NotFound, lofn.Unimplemented:
		return grpcUnimplemented
	case lofn.Exists:
		return grpcFailedPrecondition
	case lofn.Conflict:
		return grpcAborted
	case lofn.Unauthenticated:
		return grpcUnauthenticated
	case lofn.Forbidden:
		return grpcPermissionDenied
	case lofn.Overloaded, lofn.Full:
		return grpcResourceExhausted
	case lofn.DeadlineExceeded:
		return grpcDeadlineExceeded
	case lofn.Unavailable, lofn.Unreachable:
		return grpcUnavailable
	default:
		return grpcInternal
	}
}

// GRPC sets the headers, or trailers, that end a gRPC call with an error.
func GRPC(h http.Header, err error) {
	h.Set("Grpc-Status", strconv.Itoa(grpcStatus(err)))
	// The message is percent-encoded, of which this is a strict form.
	h.Set("Grpc-Message", url.PathEscape(err.Error()))
}
