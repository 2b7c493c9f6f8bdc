package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"lofn"
)

// StatusError is an answer other than success.
type StatusError struct {
	// URL is the gateway's address.
	URL string
	// Status is the HTTP status.
	Status int
	// Text is what the gateway said, in one line where it keeps the contract,
	// and never empty.
	Text string
}

func (e *StatusError) Error() string { return e.Text }

// UnreachableError says that the gateway did not answer, or broke off.
type UnreachableError struct {
	// URL is the gateway's address.
	URL string
	// Err is what went wrong, without the request's method and address.
	Err error
	// Midway is set if the gateway had begun to answer.
	Midway bool
}

func (e *UnreachableError) Error() string { return fmt.Sprintf("cannot reach %s: %v", e.URL, e.Err) }

// Unwrap returns what went wrong.
func (e *UnreachableError) Unwrap() error { return e.Err }

// maxErrorText bounds how much of a refusal is kept, in bytes.
const maxErrorText = 8 << 10

func newStatusError(gateway string, res *http.Response) error {
	status := fmt.Sprintf("%d %s", res.StatusCode, http.StatusText(res.StatusCode))
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorText))
	text := strings.TrimSpace(string(body))
	switch {
	case isHTML(res):
		text = fmt.Sprintf("%s answered %s with a web page; is this the address of a gateway?", gateway, status)
	case res.StatusCode >= 300 && res.StatusCode < 400:
		text = fmt.Sprintf("%s answered %s and points to %s; use that address", gateway, status, res.Header.Get("Location"))
	case text == "":
		text = fmt.Sprintf("%s answered %s", gateway, status)
	}
	return lofn.Errorf(codeOf(res.StatusCode), "%w", &StatusError{URL: gateway, Status: res.StatusCode, Text: text})
}

// newUnreachable strips the request line from err: the method and path mean
// nothing to a person. Where the caller gave up, that is the error.
func newUnreachable(ctx context.Context, gateway string, midway bool, err error) error {
	if urlError, ok := errors.AsType[*url.Error](err); ok {
		err = urlError.Err
	}
	code := lofn.Unavailable
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		code = lofn.DeadlineExceeded
		err = fmt.Errorf("no answer in the time allowed: %w", context.DeadlineExceeded)
	case ctx.Err() != nil:
		err = ctx.Err()
	default:
		err = plainNetError(err)
	}
	return lofn.Errorf(code, "%w", &UnreachableError{URL: gateway, Err: err, Midway: midway})
}

// plainNetError leaves out the addresses and system calls that net.OpError adds.
func plainNetError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the connection was closed")
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		return call.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// codeOf is the way back from internal/problem's table.
func codeOf(status int) lofn.Code {
	switch status {
	case http.StatusUnauthorized:
		return lofn.Unauthenticated
	case http.StatusForbidden:
		return lofn.Forbidden
	case http.StatusNotFound:
		return lofn.NotFound
	case http.StatusConflict:
		return lofn.Exists
	case http.StatusTooManyRequests:
		return lofn.Overloaded
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return lofn.Unimplemented
	case http.StatusInsufficientStorage:
		return lofn.Full
	case http.StatusBadGateway:
		return lofn.Unreachable
	case http.StatusServiceUnavailable:
		return lofn.Unavailable
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return lofn.DeadlineExceeded
	}
	if status >= 400 && status < 500 {
		return lofn.Invalid
	}
	return lofn.Internal
}
