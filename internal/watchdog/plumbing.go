package watchdog

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// plumbing is the pipes of one process. os/exec has its own, but those either
// lose output that is still in the pipe when the process ends, or wait for
// whoever inherited the pipe; and they take a goroutine each.
type plumbing struct {
	childEnds []*os.File
	input     int      // where its input is written; -1 if nowhere
	stdin     *os.File // the same, as long as a goroutine writes to it
	outputs   []int    // standard output, and standard error if it is apart; -1 after the end
}

// connect makes the pipes and gives the command its ends.
func (p *plumbing) connect(cmd *exec.Cmd, stdin io.Reader, apart bool) error {
	if err := p.connectInput(cmd, stdin); err != nil {
		return err
	}
	out, err := p.connectOutput()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = out, out
	if apart {
		if cmd.Stderr, err = p.connectOutput(); err != nil {
			return err
		}
	}
	return nil
}

func (p *plumbing) connectInput(cmd *exec.Cmd, stdin io.Reader) error {
	p.input = -1
	if stdin == nil {
		return nil
	}
	if file, ok := stdin.(*os.File); ok {
		cmd.Stdin = file
		return nil
	}
	ends, err := pipe(1)
	if err != nil {
		return err
	}
	p.input, cmd.Stdin = ends[1], p.childEnd(ends[0])
	return nil
}

func (p *plumbing) connectOutput() (io.Writer, error) {
	ends, err := pipe(0)
	if err != nil {
		return nil, err
	}
	p.outputs = append(p.outputs, ends[0])
	return p.childEnd(ends[1]), nil
}

func (p *plumbing) childEnd(fd int) *os.File {
	f := os.NewFile(uintptr(fd), "pipe")
	p.childEnds = append(p.childEnds, f)
	return f
}

// fits reports whether the whole input was there and went into the pipe at
// once. The rest of what did not is still in stdin.
func (p *plumbing) fits(stdin io.Reader) bool {
	if stdin != nil {
		whole, ok := stdin.(*bytes.Reader)
		if !ok {
			return false
		}
		if _, err := whole.WriteTo(onceWriter(p.input)); err != nil {
			return false
		}
	}
	p.closeInput()
	return true
}

// onceWriter writes what a pipe takes without waiting.
type onceWriter int

func (w onceWriter) Write(b []byte) (int, error) {
	n := writeNow(int(w), b)
	if n < len(b) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// open returns the pipe to the process's input for a goroutine.
func (p *plumbing) open() *os.File {
	p.stdin, p.input = os.NewFile(uintptr(p.input), "stdin"), -1
	return p.stdin
}

func (p *plumbing) closeInput() {
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
	if p.input >= 0 {
		_ = syscall.Close(p.input)
		p.input = -1
	}
}

// copyBuffer is how much of a stream is in memory at a time.
const copyBuffer = 32 << 10

// pass passes on one piece of an output, and returns its size. An output that
// is at its end is closed; so is one that nobody takes, which is an error.
func (p *plumbing) pass(i int, to io.Writer, buf []byte) (int, error) {
	n, errno := readNow(p.outputs[i], buf)
	if n > 0 {
		_, err := to.Write(buf[:n])
		if err != nil {
			p.shut(i)
		}
		return n, err
	}
	if !errors.Is(errno, syscall.EAGAIN) && !errors.Is(errno, syscall.EINTR) {
		p.shut(i)
	}
	return 0, nil
}

func (p *plumbing) shut(i int) {
	if p.outputs[i] >= 0 {
		_ = syscall.Close(p.outputs[i])
		p.outputs[i] = -1
	}
}

// ended reports whether all outputs are at their end.
func (p *plumbing) ended() bool {
	for _, fd := range p.outputs {
		if fd >= 0 {
			return false
		}
	}
	return true
}

func (p *plumbing) closeChildEnds() {
	for _, f := range p.childEnds {
		_ = f.Close()
	}
	p.childEnds = nil
}

// close is for when nobody uses the pipes any more.
func (p *plumbing) close() {
	p.closeChildEnds()
	p.closeInput()
	for i := range p.outputs {
		p.shut(i)
	}
}
