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
		return &h2cConn{Conn: conn}, nil
	}
	return t
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
	begun atomic.Bool
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
		return 0, errNoHTTP2
	case n > 0:
		c.begun.Store(true)
	case err != nil:
		return 0, errMute
	}
	return n, err
}

func (c *h2cConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil && !c.begun.Load() {
		err = errMute
	}
	return n, err
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
