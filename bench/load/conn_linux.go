package load

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// conn is a connection, which carries one call at a time.
type conn struct {
	id     int
	fd     int // -1 while it is not open
	busy   bool
	since  time.Time // when the call under way began, or was due
	unsent []byte    // of its request
	answer answer
	served int // calls, since it was opened
}

// close closes the connection, if it is open.
func (c *conn) close() {
	if c.fd >= 0 {
		unix.Close(c.fd)
		c.fd = -1
	}
}

// patience is how long a connection may take to open.
const patience = 5 * time.Second

// connect opens the connection.
func (l *loop) connect(c *conn) error {
	family, address, err := l.target.sockaddr()
	if err != nil {
		return err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	c.fd, c.served, c.answer = fd, 0, answer{}
	if err := l.prepare(c, family, address); err != nil {
		c.close()
		return err
	}
	return nil
}

func (l *loop) prepare(c *conn, family int, address unix.Sockaddr) error {
	limit := unix.NsecToTimeval(int64(patience))
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	err := unix.Connect(c.fd, address)
	if errors.Is(err, unix.EINTR) {
		err = awaitConnected(c.fd)
	}
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if family != unix.AF_UNIX {
		if err := unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return fmt.Errorf("socket: %w", err)
		}
	}
	if err := unix.SetNonblock(c.fd, true); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(c.id)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, c.fd, &event); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// awaitConnected waits for a connection that is under way: a signal, of which
// the Go runtime sends some to its own threads, ends the wait in Connect and not
// the connecting.
func awaitConnected(fd int) error {
	events := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for {
		n, err := unix.Poll(events, int(patience.Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return unix.ETIMEDOUT
		}
		code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		return err
	}
}

func (t Target) sockaddr() (family int, address unix.Sockaddr, err error) {
	if t.Network == "unix" {
		return unix.AF_UNIX, &unix.SockaddrUnix{Name: t.Address}, nil
	}
	tcp, err := net.ResolveTCPAddr("tcp4", t.Address)
	if err != nil {
		return 0, nil, err
	}
	return unix.AF_INET, &unix.SockaddrInet4{Port: tcp.Port, Addr: [4]byte(tcp.IP.To4())}, nil
}

// begin sends a call.
func (l *loop) begin(c *conn, since time.Time) {
	l.begun++
	l.busy++
	c.busy, c.since, c.unsent = true, since, l.request
	if c.fd < 0 {
		if err := l.connect(c); err != nil {
			l.failed(c, err.Error(), "")
			return
		}
	}
	l.send(c)
}

// send writes as much as the connection takes.
func (l *loop) send(c *conn) {
	for len(c.unsent) > 0 {
		n, err := unix.Write(c.fd, c.unsent)
		switch {
		case err == nil:
			c.unsent = c.unsent[n:]
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET):
			// What the server said before it closed is still to be read.
			c.unsent = nil
		case !errors.Is(err, unix.EINTR):
			l.broken(c, err)
			return
		}
	}
}

// ready goes on with a connection that epoll named.
func (l *loop) ready(c *conn, events uint32) {
	if c.fd < 0 {
		return
	}
	if c.busy && events&unix.EPOLLOUT != 0 {
		l.send(c)
	}
	for c.fd >= 0 && events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		n, err := unix.Read(c.fd, l.buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil || n == 0:
			l.broken(c, err)
			return
		case l.received(c, l.buf[:n]) && events&unix.EPOLLRDHUP == 0:
			// Whatever comes from here on makes an event of its own.
			return
		}
	}
}

// broken deals with a connection that has ended: with err, or in order.
func (l *loop) broken(c *conn, err error) {
	how := "the server closed the connection"
	if err != nil {
		how = err.Error()
	}
	switch {
	case !c.busy:
		c.close()
		l.result.Reopened++
	case c.answer.begun():
		l.failed(c, how+" in the middle of an answer", "")
	case c.served > 0:
		l.failed(c, how+" before an answer, on a connection used before", fmt.Sprintf(" (%d calls)", c.served))
	default:
		l.failed(c, how+" before an answer, on a new connection", "")
	}
}

// received takes what came. It reports whether the answer is complete.
func (l *loop) received(c *conn, b []byte) bool {
	if !c.busy {
		// Nobody asked for it, so the connection is of no use any more.
		l.result.failed("bytes that belong to no call", fmt.Sprintf(": %.100q", b))
		c.close()
		return true
	}
	used, done, err := c.answer.feed(b)
	switch {
	case err != nil:
		l.failed(c, err.Error(), "")
	case !done:
		return false
	case used < len(b):
		l.failed(c, "an answer longer than it said", fmt.Sprintf(": %.100q", b[used:]))
	case !c.answer.success():
		l.refused(c)
	default:
		l.answered(c)
	}
	return true
}

// refused is the end of a call that was answered with something else than
// success. The connection can go on.
func (l *loop) refused(c *conn) {
	if l.plan.Rate == 0 {
		l.err = fmt.Errorf("status %s: %s", c.answer.phrase, c.answer.excerpt)
	}
	l.result.failed("status "+c.answer.phrase, fmt.Sprintf(": %.200s", c.answer.excerpt))
	l.goOn(c)
	l.finished(c)
}

func (l *loop) answered(c *conn) {
	now := time.Now()
	l.latencies = append(l.latencies, now.Sub(c.since))
	if l.plan.Rate == 0 || now.Before(l.end) {
		l.result.InTime++
	}
	l.goOn(c)
	l.finished(c)
	if l.plan.Rate == 0 && now.Before(l.end) && l.err == nil {
		l.begin(c, now)
	}
}

// goOn makes the connection ready for the next call.
func (l *loop) goOn(c *conn) {
	c.served++
	if c.answer.close {
		c.close()
	}
	c.answer.next()
}
