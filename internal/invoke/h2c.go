package invoke

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"

	"lofn"
)

// newH2C returns a transport that speaks HTTP/2 without TLS, and nothing else:
// the function is to know it (RFC 9113, 3.3), since nobody asks it before.
func newH2C() *http.Transport {
	t := newTransport()
	t.Protocols = new(http.Protocols)
	t.Protocols.SetUnencryptedHTTP2(true)
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := dial(ctx, "", "")
		if err != nil {
			return nil, err
		}
		c := &h2cConn{Conn: conn}
		if first, ok := ctx.Value(firstConnKey{}).(*firstConn); ok {
			first.Store(c)
		}
		return c, nil
	}
	return t
}

// firstConn is the connection that was made for a call, nil if none was: the
// transport does not always tell why it could not use it.
type firstConn = atomic.Pointer[h2cConn]

type firstConnKey struct{}

// overHTTP2 sends a request that means nothing over HTTP/1.1.
func (c *Caller) overHTTP2(r *http.Request) (*http.Response, error) {
	first := new(firstConn)
	resp, err := c.h2c.RoundTrip(r.WithContext(context.WithValue(r.Context(), firstConnKey{}, first)))
	if conn := first.Load(); err != nil && conn != nil {
		if failure := conn.failure.Load(); failure != nil {
			err = *failure
		}
	}
	return resp, err
}

// needsHTTP2 reports whether the call means nothing over HTTP/1.1.
func needsHTTP2(r *http.Request) bool {
	return r.ProtoMajor == 2 && lofn.IsGRPC(r.Header.Get("Content-Type"))
}

var (
	// errNoHTTP2 says that the function answered the preface of HTTP/2 with
	// something else.
	errNoHTTP2 = errors.New("it does not speak HTTP/2")
	// errMute says that it hung up on the preface.
	errMute = errors.New("it hung up before it said anything in HTTP/2")
)

// h2cConn is a connection whose other side begins with its settings for HTTP/2,
// or shows at its first bytes that it does not know it.
type h2cConn struct {
	net.Conn
	begun   atomic.Bool
	failure atomic.Pointer[error]
}

// A frame has its type in its fourth byte (RFC 9113, 4.1).
const (
	frameType    = 3
	typeSettings = 4
)

func (c *h2cConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	switch {
	case c.begun.Load():
	case n > frameType && p[frameType] != typeSettings:
		return 0, c.fail(&errNoHTTP2)
	case n > 0:
		c.begun.Store(true)
	case err != nil:
		return 0, c.fail(&errMute)
	}
	return n, err
}

func (c *h2cConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil && !c.begun.Load() {
		err = c.fail(&errMute)
	}
	return n, err
}

// fail keeps the first failure, or the one that is sure.
func (c *h2cConn) fail(err *error) error {
	if !c.failure.CompareAndSwap(nil, err) && err == &errNoHTTP2 {
		c.failure.Store(err)
	}
	return *err
}

// explainHTTP2 is the error of a call to a function that seems not to know
// HTTP/2, nil for any other.
func explainHTTP2(ref lofn.Ref, replica string, err error) error {
	switch {
	case errors.Is(err, errNoHTTP2):
		return lofn.Errorf(lofn.Unimplemented, "function %s (replica %s) does not speak HTTP/2, %s", ref, replica, needed)
	case errors.Is(err, errMute):
		return lofn.Errorf(lofn.Unreachable, "function %s (replica %s) broke the call off before it said anything in HTTP/2, %s", ref, replica, needed)
	}
	return nil
}

const needed = "which gRPC needs: a function serves it as h2c, without TLS and without an upgrade"
