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
// appeared, which is just before; a TCP port has to be looked at.
func (s *server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.ready, fmt.Errorf(
		"did not listen on $%s or port %d within %s", lofn.EnvSocket, s.port, s.ready))
	defer cancel()
	appeared, enough := s.machine.notices.want(s.dial, s.socket())
	defer enough()
	timer := time.NewTimer(0) // it may have appeared before
	defer timer.Stop()
	var bound time.Time
	for {
		select {
		case <-s.child.exited:
			return errExited
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-appeared:
			appeared, bound = nil, time.Now()
		case <-timer.C:
		}
		looked := time.Now()
		if s.listens() {
			if bound.IsZero() {
				bound = looked
			}
			s.startup.Listen, s.startup.Accept = bound.Sub(s.child.started), time.Since(bound)
			return nil
		}
		timer.Reset(pause(s.child.started, bound, looked))
	}
}

// pause is how long to wait after a look that began when it did. Looks are ever
// rarer, so that the last one is late by a small part of what the start took,
// and they never take more than a fifth of a processor.
func pause(started, bound, looked time.Time) time.Duration {
	const longest = 100 * time.Millisecond
	usual := max(looked.Sub(started)/40, 200*time.Microsecond)
	if !bound.IsZero() {
		// Between the socket and its listening are two system calls.
		usual = min(usual, max(looked.Sub(bound)/4, 20*time.Microsecond))
	}
	return min(max(usual, 4*time.Since(looked)), longest)
}

// listens finds out where the process listens, if it does.
func (s *server) listens() bool {
	path := filepath.Join(s.dial, s.socket())
	if accepts(unix.AF_UNIX, &unix.SockaddrUnix{Name: path}) {
		s.network, s.address = "unix", path
		return true
	}
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
	at := &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	if !accepts(unix.AF_INET, at) || !listening(family(s.child.pid), port) {
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
