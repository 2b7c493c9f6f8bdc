package invoke

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"lofn"
)

// Direct returns a connection to the least busy ready replica of the function,
// for a caller that speaks HTTP itself. It does not wait: false means that
// there is no such replica now, or that it takes no connection, and that Call
// is the way.
func (c *Caller) Direct(ref lofn.Ref) (lofn.Link, bool) {
	lease, ok := c.pool.TryLease(ref)
	if !ok {
		return nil, false
	}
	replica := lease.Replica()
	home := c.home(replica.ID)
	if conn := home.take(); conn != nil {
		conn.lease, conn.replica = lease, replica
		return conn, true
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	raw, err := dialReplica(ctx, replica)
	if err != nil {
		if refused(err) {
			lease.Refused()
		}
		lease.Release()
		return nil, false
	}
	return &link{Conn: raw, home: home, lease: lease, replica: replica}, true
}

// Forget closes the connections that are kept to a replica. It is called when
// the replica is gone.
func (c *Caller) Forget(replicaID string) {
	if h, ok := c.homes.LoadAndDelete(replicaID); ok {
		h.(*home).close()
	}
}

func (c *Caller) home(replicaID string) *home {
	if h, ok := c.homes.Load(replicaID); ok {
		return h.(*home)
	}
	h, _ := c.homes.LoadOrStore(replicaID, new(home))
	return h.(*home)
}

// link is a lofn.Link.
type link struct {
	net.Conn
	home    *home
	replica lofn.Replica
	lease   lofn.Lease
	since   time.Time // when it was put back
}

func (l *link) Replica() lofn.Replica { return l.replica }

func (l *link) Return(keep bool) {
	lease := l.lease
	l.lease = nil
	if !keep || !l.home.put(l) {
		l.Close()
	}
	lease.Release()
}

const (
	// idleTime is how long a connection is kept without use.
	idleTime = 90 * time.Second
	// maxIdle bounds the connections kept to one replica.
	maxIdle = 1024
)

// home keeps the idle connections to one replica, the last used on top, so
// that those beyond the need grow old.
type home struct {
	mu     sync.Mutex
	idle   []*link
	closed bool
}

func (h *home) take() *link {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n := len(h.idle); n > 0; n-- {
		l := h.idle[n-1]
		h.idle[n-1] = nil
		h.idle = h.idle[:n-1]
		if time.Since(l.since) < idleTime && l.quiet() {
			return l
		}
		l.Close()
	}
	return nil
}

// put keeps the connection, or reports that it cannot.
func (h *home) put(l *link) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.idle) == maxIdle {
		return false
	}
	l.since = time.Now()
	h.idle = append(h.idle, l)
	h.closeOld()
	return true
}

// closeOld closes the connection that was unused longest if it is too old. One
// at a time is enough: as many are put as are taken.
func (h *home) closeOld() {
	if oldest := h.idle[0]; time.Since(oldest.since) > idleTime {
		oldest.Close()
		h.idle = append(h.idle[:0], h.idle[1:]...)
	}
}

func (h *home) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, l := range h.idle {
		l.Close()
	}
	h.idle = nil
}

// quiet reports whether the other side has neither closed nor sent anything,
// as it must not between two exchanges.
func (l *link) quiet() bool {
	conn, ok := l.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN
	})
	return err == nil && quiet
}
