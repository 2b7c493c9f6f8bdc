package fleet

import (
	"io"
	"os"
	"sync"
	"syscall"
)

// Buffers are shared by those who read pipes: a replica that is silent needs
// none. Its methods are safe for concurrent use.
type Buffers struct{ pool sync.Pool }

// NewBuffers returns Buffers, all free.
func NewBuffers() *Buffers {
	return &Buffers{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}}
}

// Pump moves what can be read from a pipe, which the runtime's poller has to
// watch, to each of the writers. It returns when nobody can write to the pipe
// any more, or it was closed or its deadline passed. That something cannot be
// written to a log must not stop who says it, so such errors are ignored.
func (b *Buffers) Pump(from *os.File, to ...io.Writer) {
	conn, err := from.SyscallConn()
	if err != nil {
		return
	}
	for b.move(conn, to) {
	}
}

// move waits for output and moves what there is; false at the end. It takes a
// buffer only when there is something to read.
func (b *Buffers) move(conn syscall.RawConn, to []io.Writer) bool {
	n := 0
	var buffer *[]byte
	err := conn.Read(func(fd uintptr) bool {
		buffer = b.pool.Get().(*[]byte)
		var err error
		for {
			n, err = syscall.Read(int(fd), *buffer)
			if err != syscall.EINTR {
				break
			}
		}
		if err == syscall.EAGAIN {
			b.pool.Put(buffer)
			return false
		}
		return true
	})
	if err != nil {
		return false
	}
	defer b.pool.Put(buffer)
	if n <= 0 {
		return false
	}
	for _, w := range to {
		_, _ = w.Write((*buffer)[:n])
	}
	return true
}
