package gateway

import (
	"os"
	"syscall"
	"time"
)

// poller waits for events on file descriptors.
type poller struct {
	fd     int // the epoll instance
	events [256]syscall.EpollEvent
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
	return &poller{fd: fd}, os.NewSyscallError("epoll_create1", err)
}

func (p *poller) close() { _ = syscall.Close(p.fd) }

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
func (p *poller) look() ([]syscall.EpollEvent, error) { return p.poll(0) }

// wait returns the next events, or none at a time given; zero is never.
func (p *poller) wait(until time.Time) ([]syscall.EpollEvent, error) {
	if until.IsZero() {
		return p.poll(-1)
	}
	left := max(time.Until(until), 0)
	return p.poll(int((left + time.Millisecond - 1) / time.Millisecond))
}

// poll waits for so many milliseconds at the most, for ever if negative.
func (p *poller) poll(limit int) ([]syscall.EpollEvent, error) {
	n, err := syscall.EpollWait(p.fd, p.events[:], limit)
	if err == syscall.EINTR {
		return nil, nil
	}
	return p.events[:max(n, 0)], os.NewSyscallError("epoll_wait", err)
}
