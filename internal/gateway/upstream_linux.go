package gateway

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"time"

	"lofn"
)

// upstream is a connection to a replica.
type upstream struct {
	socket
	home *home
	// exchange is the call that has it, nil while it is idle.
	exchange *exchange
	// connecting is set until the replica took the connection.
	connecting bool
	idleSince  time.Time
	// begun is the beginning of a head.
	begun []byte
}

const (
	// keepTime is how long a connection to a replica is kept without use.
	keepTime = 90 * time.Second
	// trustTime is how long an idle connection is trusted with a request that
	// must not be repeated: servers close idle connections when they like, and
	// the shortest time in use is a few seconds.
	trustTime = time.Second
	// maxKept bounds the idle connections that a loop keeps to one replica.
	maxKept = 512
)

var (
	// errBusy says that a replica takes no more connections at the moment.
	errBusy = errors.New("too many connections wait for the replica")
	// errForeign is for addresses that take more than a connect.
	errForeign = errors.New("not an address that the lane can connect to")
)

// reach returns a connection to a replica: a kept one, or a new one, which may
// still be connecting. repeatable tells whether the call may be made again.
func (l *loop) reach(r lofn.Replica, repeatable bool) (*upstream, error) {
	h := l.homes[r.ID]
	if h == nil {
		h = &home{loop: l, id: r.ID} // known from its first idle connection on
	} else if u := h.take(repeatable); u != nil {
		return u, nil
	}
	u := &upstream{home: h}
	u.ready = u.onEvent
	return u, u.connect(r)
}

func (u *upstream) connect(r lofn.Replica) error {
	address, family, err := socketAddress(r)
	if err != nil {
		return err
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	events := uint32(reads)
	switch err = syscall.Connect(fd, address); err {
	case nil:
	case syscall.EINPROGRESS:
		u.connecting, events = true, reads|writes
	case syscall.EAGAIN:
		err = errBusy
		fallthrough
	default:
		_ = syscall.Close(fd)
		return err
	}
	if family != syscall.AF_UNIX {
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	return u.home.loop.adopt(&u.socket, int32(fd), events)
}

func socketAddress(r lofn.Replica) (address syscall.Sockaddr, family int, err error) {
	if r.Network == "unix" {
		return &syscall.SockaddrUnix{Name: r.Address}, syscall.AF_UNIX, nil
	}
	a, err := netip.ParseAddrPort(r.Address)
	switch {
	case err != nil || r.Network != "tcp":
		return nil, 0, errForeign
	case a.Addr().Is4():
		return &syscall.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}, syscall.AF_INET, nil
	case a.Addr().Zone() == "":
		return &syscall.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}, syscall.AF_INET6, nil
	}
	return nil, 0, errForeign
}

func (u *upstream) onEvent() {
	switch e := u.exchange; {
	case e == nil:
		// It ended, or it sent what nobody asked for.
		if _, err := u.read(u.loop.in[:1]); err != errWouldBlock {
			u.close()
		}
	case u.connecting:
		u.connected()
	default:
		if len(u.unsent) > 0 && u.flush() != nil {
			u.unsent, u.readable = nil, true // it may have answered
		}
		e.receive()
	}
}

// connected is called when a connect ended.
func (u *upstream) connected() {
	u.connecting = false
	errno, err := syscall.GetsockoptInt(int(u.fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err == nil && errno != 0 {
		err = syscall.Errno(errno)
	}
	if err == nil {
		err = u.watchWrites(false)
	}
	if err != nil {
		u.exchange.refused()
		return
	}
	u.exchange.transmit()
}

// close closes the connection for good.
func (u *upstream) close() {
	u.home.drop(u)
	u.exchange = nil
	u.socket.close()
}

// home keeps the idle connections to one replica, the last used on top, so
// that those beyond the need grow old.
type home struct {
	loop *loop
	id   string
	idle []*upstream
}

// take returns an idle connection, nil if there is none to be trusted.
func (h *home) take(repeatable bool) *upstream {
	last := len(h.idle) - 1
	if last < 0 {
		return nil
	}
	u := h.idle[last]
	if age := time.Since(u.idleSince); age > keepTime || age > trustTime && !repeatable {
		return nil
	}
	h.idle[last] = nil
	h.idle = h.idle[:last]
	return u
}

// put keeps the connection, or closes it.
func (h *home) put(u *upstream) {
	u.exchange, u.begun = nil, nil
	if u.readable {
		// What was read ended with the buffer.
		if _, err := u.read(h.loop.in[:1]); err != errWouldBlock {
			u.close()
			return
		}
	}
	if len(h.idle) == maxKept {
		u.close()
		return
	}
	if known := h.loop.homes[h.id]; known == nil {
		h.loop.homes[h.id] = h
	} else {
		u.home, h = known, known
	}
	u.idleSince = time.Now()
	h.idle = append(h.idle, u)
	// One at a time is enough: as many are put as are taken.
	if oldest := h.idle[0]; time.Since(oldest.idleSince) > keepTime {
		oldest.close()
	}
}

// drop forgets a connection, and the home with the last one.
func (h *home) drop(u *upstream) {
	for i, other := range h.idle {
		if other == u {
			h.idle = append(h.idle[:i], h.idle[i+1:]...)
			break
		}
	}
	if len(h.idle) == 0 && h.loop.homes[h.id] == h {
		delete(h.loop.homes, h.id)
	}
}

func (h *home) closeAll() {
	for len(h.idle) > 0 {
		h.idle[0].close()
	}
}
