package gateway

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// poller waits for events on file descriptors. Its own descriptor is one that
// the Go runtime polls: a loop that waits costs no thread, and is woken as any
// goroutine is.
type poller struct {
	file   *os.File // the epoll instance
	raw    syscall.RawConn
	fd     int
	events [256]syscall.EpollEvent
	// until is the deadline that file has.
	until time.Time
}

const (
	// EPOLLET, as an unsigned number: syscall's constant is negative.
	edgeTriggered = 1 << 31

	reads  = syscall.EPOLLIN | syscall.EPOLLRDHUP | edgeTriggered
	writes = syscall.EPOLLOUT
	ends   = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
)

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// What is not blocking, the runtime polls.
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	p := &poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	p.raw, err = p.file.SyscallConn()
	return p, err
}

func (p *poller) close() { p.file.Close() }

// add watches a descriptor. Each event has the serial with it, by which events
// of an earlier descriptor of the same number can be told.
func (p *poller) add(fd, serial int32, events uint32) error {
	return syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, int(fd), &syscall.EpollEvent{Events: events, Fd: fd, Pad: serial})
}

func (p *poller) change(fd, serial int32, events uint32) error {
	return syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_MOD, int(fd), &syscall.EpollEvent{Events: events, Fd: fd, Pad: serial})
}

func (p *poller) remove(fd int32) {
	_ = syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_DEL, int(fd), &syscall.EpollEvent{})
}

// look returns the events that there are.
func (p *poller) look() []syscall.EpollEvent {
	for {
		n, err := syscall.EpollWait(p.fd, p.events[:], 0)
		if err != syscall.EINTR {
			return p.events[:max(n, 0)]
		}
	}
}

// wait returns the next events, or none at a time given; zero is never.
func (p *poller) wait(until time.Time) (events []syscall.EpollEvent, err error) {
	if !until.Equal(p.until) {
		p.until = until
		if err := p.file.SetReadDeadline(until); err != nil {
			return nil, err
		}
	}
	err = p.raw.Read(func(uintptr) bool {
		events = p.look()
		return len(events) > 0
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, nil
	}
	return events, err
}
