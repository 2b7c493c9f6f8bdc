package gateway

import (
	"errors"
	"io"
	"syscall"
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
		n, err := syscall.Read(int(s.fd), p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			s.readable = false
			return 0, errWouldBlock
		case err != nil:
			return 0, err
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

// write sends p, and keeps what the kernel does not take yet. sent tells whether
// it took any of it. After an error nothing can be sent any more.
func (s *socket) write(p []byte) (sent bool, err error) {
	if len(s.unsent) > 0 {
		s.unsent = append(s.unsent, p...)
		return true, nil
	}
	n, err := s.send(p)
	if err != nil {
		return n > 0, err
	}
	if n < len(p) {
		s.unsent = append(s.unsent, p[n:]...)
		err = s.watchWrites(true)
	}
	return n > 0, err
}

// send writes as much as the kernel takes.
func (s *socket) send(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := syscall.Write(int(s.fd), p[n:])
		switch err {
		case nil:
			n += m
		case syscall.EINTR:
		case syscall.EAGAIN:
			return n, nil
		default:
			s.dead = true
			return n, err
		}
	}
	return n, nil
}

// flush sends what is unsent, as far as it goes.
func (s *socket) flush() error {
	n, err := s.send(s.unsent)
	if s.unsent = s.unsent[:copy(s.unsent, s.unsent[n:])]; len(s.unsent) > 0 || err != nil {
		return err
	}
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
