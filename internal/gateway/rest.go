package gateway

import (
	"io"
	"net"
	"sync"
)

// restListener hands connections from the lane to an http.Server.
type restListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newRestListener() *restListener {
	return &restListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// put hands a connection over, or closes it if nobody serves any more.
func (l *restListener) put(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.closed:
		c.Close()
	}
}

// Accept implements net.Listener.
func (l *restListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *restListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener. The address is the lane's to know.
func (l *restListener) Addr() net.Addr { return &net.UnixAddr{Name: "lane", Net: "unix"} }

// restConn is a connection with what was already read from it. It has the
// methods of a *net.TCPConn that net/http looks for, but not WriteTo, which
// would pass the prefix by.
type restConn struct {
	net.Conn
	prefix []byte
}

func (c *restConn) Read(p []byte) (int, error) {
	if len(c.prefix) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.prefix)
	if c.prefix = c.prefix[n:]; len(c.prefix) == 0 {
		c.prefix = nil
	}
	return n, nil
}

// ReadFrom implements io.ReaderFrom, by which the kernel can move the bytes.
func (c *restConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// CloseWrite sends the end of the stream and still reads.
func (c *restConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
