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

// errNoHTTP2 says that the function answered the preface of HTTP/2 with
// something else.
var errNoHTTP2 = errors.New("it does not speak HTTP/2")

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
	if n > frameType && !c.begun.Load() && p[frameType] != typeSettings {
		return 0, errNoHTTP2
	}
	if n > 0 {
		c.begun.Store(true)
	}
	return n, err
}

// Write looks, if the other side takes no more, for what it had to say.
func (c *h2cConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil && !c.begun.Load() {
		var first [frameType + 1]byte
		if _, unknown := c.Read(first[:]); unknown == errNoHTTP2 {
			return n, unknown
		}
	}
	return n, err
}
