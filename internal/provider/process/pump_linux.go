package process

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"lofn/internal/provider/fleet"
)

// pump moves what a process writes to its log, and remembers the end of it.
type pump struct {
	from *os.File
	to   io.WriteCloser
	done chan struct{}
	// tail is complete once done is closed.
	tail fleet.Tail
}

// buffers are shared: a function that is silent needs none.
type buffers struct{ pool sync.Pool }

func newBuffers() *buffers {
	return &buffers{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}}
}

// newPump returns a pump and the file that a process shall write to.
func newPump(to io.WriteCloser) (*pump, *os.File, error) {
	// Not os.Pipe, which has the runtime's poller watch the end that is for the
	// process as well.
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	r, w := ends[0], os.NewFile(uintptr(ends[1]), "output")
	if err := unix.SetNonblock(r, true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(r), w.Close())
	}
	return &pump{from: os.NewFile(uintptr(r), "output"), to: to, done: make(chan struct{})}, w, nil
}

// run moves bytes until all writers have closed the pipe.
func (p *pump) run(b *buffers) {
	defer close(p.done)
	defer p.to.Close()
	defer p.from.Close()
	conn, err := p.from.SyscallConn()
	if err != nil {
		return
	}
	for p.move(conn, b) {
	}
}

// move waits for output and moves what there is; false at the end. It takes a
// buffer only when there is something to read.
func (p *pump) move(conn syscall.RawConn, b *buffers) bool {
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
	_, _ = p.tail.Write((*buffer)[:n])
	// A log that cannot be written must not stop the function.
	_, _ = p.to.Write((*buffer)[:n])
	return true
}
