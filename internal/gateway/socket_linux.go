package gateway

import (
	"errors"
	"io"
	"syscall"
	"unsafe"
)

// socket is a connection that never blocks its loop. Its methods are called by
// the loop only.
type socket struct {
	loop   *loop
	fd     int32 // -1 when closed
	serial int32
	// ready is called after events.
	ready func()
	// readable is set while there may be something to read, hungUp when the
	// other side ended the stream or the connection.
	readable, hungUp bool
	// dead is set when nothing can be written any more.
	dead bool
	// unsent is what could not be written yet.
	unsent         []byte
	watchingWrites bool
}

// errWouldBlock says that there is nothing to read now.
var errWouldBlock = errors.New("nothing to read now")

// read reads once. It fails with errWouldBlock, io.EOF, or what the kernel says.
func (s *socket) read(p []byte) (int, error) {
	for {
		n, errno := transfer(syscall.SYS_READ, s.fd, unsafe.Pointer(&p[0]), len(p))
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			s.readable = false
			return 0, errWouldBlock
		case errno != 0:
			return 0, errno
		case n == 0:
			return 0, io.EOF
		}
		if n < len(p) && !s.hungUp {
			// A stream that gave less than was asked for has no more.
			s.readable = false
		}
		return n, nil
	}
}

// transfer is a read or write that does not block, so the runtime need not be
// told: that would cost as much again, and may cost the loop its processor.
func transfer(call uintptr, fd int32, p unsafe.Pointer, n int) (int, syscall.Errno) {
	done, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(p), uintptr(n))
	return int(done), errno
}

// joinSize is up to where two parts are copied together: beyond it the copy
// costs more than to tell the kernel of both.
const joinSize = 4 << 10

// write sends head and then body, and keeps what the kernel does not take yet.
// It may append to head. sent tells whether the kernel took any of it. After an
// error nothing can be sent any more.
func (s *socket) write(head, body []byte) (sent bool, err error) {
	switch {
	case len(head) == 0:
		head, body = body, nil
	case len(body) <= joinSize:
		head, body = append(head, body...), nil
	}
	if len(s.unsent) > 0 {
		s.unsent = append(append(s.unsent, head...), body...)
		return true, nil
	}
	n, err := s.send(head, body)
	if err != nil {
		return n > 0, err
	}
	if left := len(head) + len(body) - n; left > 0 {
		s.unsent = s.loop.room(left)
		s.unsent = append(s.unsent, head[min(n, len(head)):]...)
		s.unsent = append(s.unsent, body[max(n-len(head), 0):]...)
		err = s.watchWrites(true)
	}
	return n > 0, err
}

// send writes as much of two parts as the kernel takes.
func (s *socket) send(head, body []byte) (n int, err error) {
	for n < len(head)+len(body) {
		m, errno := s.sendOnce(head[min(n, len(head)):], body[max(n-len(head), 0):])
		switch errno {
		case 0:
			n += m
		case syscall.EINTR:
		case syscall.EAGAIN:
			return n, nil
		default:
			s.dead = true
			return n, errno
		}
	}
	return n, nil
}

func (s *socket) sendOnce(head, body []byte) (int, syscall.Errno) {
	switch {
	case len(body) == 0:
		return transfer(syscall.SYS_WRITE, s.fd, unsafe.Pointer(&head[0]), len(head))
	case len(head) == 0:
		return transfer(syscall.SYS_WRITE, s.fd, unsafe.Pointer(&body[0]), len(body))
	}
	parts := [2]syscall.Iovec{{Base: &head[0]}, {Base: &body[0]}}
	parts[0].SetLen(len(head))
	parts[1].SetLen(len(body))
	return transfer(syscall.SYS_WRITEV, s.fd, unsafe.Pointer(&parts[0]), len(parts))
}

// flush sends what is unsent, as far as it goes.
func (s *socket) flush() error {
	n, err := s.send(s.unsent, nil)
	if s.unsent = s.unsent[:copy(s.unsent, s.unsent[n:])]; len(s.unsent) > 0 || err != nil {
		return err
	}
	s.loop.putBuffer(s.unsent)
	s.unsent = nil
	return s.watchWrites(false)
}

func (s *socket) watchWrites(on bool) error {
	if s.watchingWrites == on {
		return nil
	}
	s.watchingWrites = on
	events := uint32(reads)
	if on {
		events |= writes
	}
	return s.loop.poller.change(s.fd, s.serial, events)
}

// close closes the connection.
func (s *socket) close() {
	if s.fd >= 0 {
		s.loop.forget(s)
		_ = syscall.Close(int(s.fd))
		s.fd, s.unsent, s.readable = -1, nil, false
	}
}
