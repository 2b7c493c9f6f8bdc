package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"lofn"
)

var errExited = errors.New("the process ended before it listened")

// await returns when the process listens. The kernel tells when its socket has
// appeared, which is just before; TCP ports have to be looked at.
func (s *server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.ready, fmt.Errorf(
		"did not listen on $%s or port %d within %s", lofn.EnvSocket, s.port, s.ready))
	defer cancel()
	appeared, enough := s.machine.notices.want(s.dial, s.socket())
	defer enough()
	// The first look is for what appeared before the kernel was asked.
	next := newLooks(time.Now(), appeared == nil, s.machine.habits.socket(s.image.Digest))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.child.exited:
			return errExited
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-appeared:
			appeared, next.bound = nil, time.Now()
			s.listensSoon()
		case <-timer.C:
		}
		looked := time.Now()
		if s.network != "" || s.listensOnSocket() || next.ports(looked) && s.listensOnPort() {
			if next.bound.IsZero() {
				next.bound = looked
			}
			s.startup.Listen, s.startup.Accept = next.bound.Sub(next.began), time.Since(next.bound)
			s.machine.habits.learn(s.image.Digest, s.network)
			return nil
		}
		timer.Reset(next.after(looked, time.Now()))
	}
}

// listensSoon looks at the socket that has just appeared. To listen on it is
// the next thing that the process does, sooner than the runtime's timers could
// tell, so this waits in the kernel; if the process does something else first,
// not for long.
func (s *server) listensSoon() {
	pause := unix.NsecToTimespec(int64(20 * time.Microsecond))
	for range 16 {
		if s.listensOnSocket() {
			return
		}
		_ = unix.Nanosleep(&pause, nil)
	}
}

// listensOnSocket looks at the function's socket.
func (s *server) listensOnSocket() bool {
	path := filepath.Join(s.dial, s.socket())
	if !accepts(unix.AF_UNIX, &unix.SockaddrUnix{Name: path}) {
		return false
	}
	s.network, s.address = "unix", path
	return true
}

// listensOnPort looks at the ports on which the process may listen.
func (s *server) listensOnPort() bool {
	if s.listensOn(s.port) {
		return true
	}
	// Templates made for other watchdogs may listen on a port that their image
	// fixes.
	if u := s.watchdog.Upstream; u != nil {
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			port, err := strconv.Atoi(u.Port())
			return err == nil && s.listensOn(port)
		}
	}
	return false
}

// listensOn looks at a TCP port. Anybody may listen there, so it must be one of
// the replica's processes that does.
func (s *server) listensOn(port int) bool {
	if !accepts(unix.AF_INET, local(port)) || !listening(family(s.child.pid), port) {
		return false
	}
	s.network, s.address = "tcp", loopback(port)
	return true
}

// accepts tries to connect. On one machine that is decided at once, so the
// call is not worth the poller of the runtime; where it is not, as when a
// queue is full, the answer is no for now.
func accepts(family int, at unix.Sockaddr) bool {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, at)
	if err != unix.EINPROGRESS {
		return err == nil
	}
	const patience = 2 // ms
	events := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(events, patience); n != 1 || err != nil {
		return false
	}
	failed, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return err == nil && failed == 0
}
