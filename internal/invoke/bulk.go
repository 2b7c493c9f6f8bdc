package invoke

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// bulkSize is how much of a request's body is sent at once: what a Unix socket
// takes (net.core.wmem_default is 208 KiB), with some room. By itself the
// transport would copy 32 KiB at a time, and a long upload is made of system
// calls.
const bulkSize = 128 << 10

// dialBulk returns dial for connections that send bodies in large pieces.
func dialBulk() func(ctx context.Context, network, address string) (net.Conn, error) {
	buffers := &sync.Pool{New: func() any { return new([bulkSize]byte) }}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &bulkConn{Conn: conn, buffers: buffers}, nil
	}
}

type bulkConn struct {
	net.Conn
	buffers *sync.Pool
}

// ReadFrom implements io.ReaderFrom. Each piece is sent as it comes.
func (c *bulkConn) ReadFrom(r io.Reader) (int64, error) {
	buffer := c.buffers.Get().(*[bulkSize]byte)
	defer c.buffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{c.Conn}, r, buffer[:])
}

// CloseWrite ends what is sent and not what is received.
func (c *bulkConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
