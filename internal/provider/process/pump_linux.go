package process

import (
	"errors"
	"io"
	"os"

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
func (p *pump) run(b *fleet.Buffers) {
	defer close(p.done)
	defer p.to.Close()
	defer p.from.Close()
	b.Pump(p.from, &p.tail, p.to)
}
