package watchdog

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// idleConns are connections to the function that wait for their next call.
type idleConns struct {
	mu     sync.Mutex
	conns  []idleConn // the one used last is the last
	closed bool
}

type idleConn struct {
	net.Conn
	since time.Time
}

// mostIdle bounds the connections that are kept.
const mostIdle = 256

// take returns a connection on which nothing has happened since, or nil.
func (p *idleConns) take(now time.Time) net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.conns) > 0 {
		last := len(p.conns) - 1
		c := p.conns[last]
		p.conns[last] = idleConn{}
		p.conns = p.conns[:last]
		if now.Sub(c.since) < idleUpstream && quiet(c.Conn) {
			return c.Conn
		}
		c.Close()
	}
	return nil
}

func (p *idleConns) put(c net.Conn, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// The oldest are at the front.
	for len(p.conns) > 0 && (now.Sub(p.conns[0].since) >= idleUpstream || len(p.conns) >= mostIdle) {
		p.conns[0].Close()
		p.conns = append(p.conns[:0], p.conns[1:]...)
	}
	if p.closed {
		c.Close()
		return
	}
	p.conns = append(p.conns, idleConn{c, now})
}

func (p *idleConns) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// quiet reports whether the other side has neither closed the connection nor
// sent anything.
func quiet(c net.Conn) bool {
	system, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := system.SyscallConn()
	if err != nil {
		return false
	}
	silent := false
	// Not raw.Read: the deadline of the last call may have passed.
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		silent = err == syscall.EAGAIN
	})
	return err == nil && silent
}
