package watchdog

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// plumbing is the pipes of one process and the goroutines that serve them.
// os/exec has its own, but those either lose output that is still in the pipe
// when the process ends, or wait for whoever inherited the pipe.
type plumbing struct {
	buffers *sync.Pool

	childEnds []*os.File
	stdin     *os.File
	outputs   []*os.File // standard output, and standard error if it is apart

	feeding  chan struct{} // closed when stdin needs nobody's care any more
	draining sync.WaitGroup
	broken   chan struct{} // closed at the first failure

	mu      sync.Mutex
	first   error
	settled bool // stdin may fail from now on
}

func (p *plumbing) init(buffers *sync.Pool) {
	p.buffers = buffers
	p.feeding, p.broken = make(chan struct{}), make(chan struct{})
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
	if stdin == nil {
		return nil
	}
	if file, ok := stdin.(*os.File); ok {
		cmd.Stdin = file
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	p.childEnds = append(p.childEnds, r)
	p.stdin = w
	cmd.Stdin = r
	return nil
}

func (p *plumbing) connectOutput() (io.Writer, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.childEnds = append(p.childEnds, w)
	p.outputs = append(p.outputs, r)
	return w, nil
}

// pump begins to move the bytes of a job.
func (p *plumbing) pump(j job) {
	if p.stdin == nil || p.fits(j.stdin) {
		close(p.feeding)
	} else {
		go func() {
			defer close(p.feeding)
			p.feed(j.stdin)
		}()
	}
	for i, to := range []io.Writer{j.stdout, j.stderr}[:len(p.outputs)] {
		p.draining.Go(func() { p.drain(p.outputs[i], to) })
	}
}

// fits reports whether the whole input was there and went into the pipe at
// once.
func (p *plumbing) fits(stdin io.Reader) bool {
	if stdin != nil {
		whole, ok := stdin.(*bytes.Reader)
		if !ok {
			return false
		}
		if _, err := whole.WriteTo(onceWriter{p.stdin}); err != nil {
			return false // feed goes on with the rest
		}
	}
	_ = p.stdin.Close()
	return true
}

// onceWriter writes what a pipe takes without waiting.
type onceWriter struct{ pipe *os.File }

func (w onceWriter) Write(b []byte) (n int, err error) {
	raw, err := w.pipe.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		n, failed = syscall.Write(int(fd), b)
		return true
	})
	return max(n, 0), errors.Join(err, failed)
}

// feed copies stdin to the process. A process that closes its standard input
// does not want the rest, which is read and dropped, so that the client gets
// its request sent and its going is noticed.
func (p *plumbing) feed(stdin io.Reader) {
	_, err := io.Copy(p.stdin, stdin)
	_ = p.stdin.Close()
	var input inputError
	if err != nil && !errors.As(err, &input) {
		_, err = io.Copy(io.Discard, stdin)
	}
	if err != nil {
		p.fail(err)
	}
}

// fail breaks the job off, for the first reason that it is given.
func (p *plumbing) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first != nil || p.settled {
		return
	}
	p.first = err
	close(p.broken)
}

func (p *plumbing) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first
}

// copyBuffer is how much of a stream is in memory at a time.
const copyBuffer = 32 << 10

func (p *plumbing) drain(from *os.File, to io.Writer) {
	buf := p.buffers.Get().(*[]byte)
	defer p.buffers.Put(buf)
	read := from.Read
	for {
		n, err := read(*buf)
		if n > 0 {
			if _, err := to.Write((*buf)[:n]); err != nil {
				p.fail(err)
				return
			}
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			read = leftover(from)
		case err != nil:
			return
		}
	}
}

// leftover returns a function that reads what is in the pipe and does not wait
// for more. It ends after as much as a pipe can hold, lest somebody who goes on
// writing keeps the call.
func leftover(pipe *os.File) func([]byte) (int, error) {
	const mostInPipe = 1 << 20
	total := 0
	return func(b []byte) (n int, err error) {
		raw, err := pipe.SyscallConn()
		if err != nil || total >= mostInPipe {
			return 0, io.EOF
		}
		_ = pipe.SetReadDeadline(time.Time{})
		var failed error
		err = raw.Read(func(fd uintptr) bool {
			n, failed = syscall.Read(int(fd), b)
			return true
		})
		if err != nil || failed != nil || n <= 0 {
			return 0, io.EOF
		}
		total += n
		return n, nil
	}
}

// strayPatience is how long output is awaited from processes that outlived
// the group, by leaving it. What the group itself wrote is in the pipe already.
const strayPatience = 500 * time.Millisecond

// settle waits until all output is written and nobody reads stdin any more.
// The processes have ended.
func (p *plumbing) settle(j job) {
	for _, o := range p.outputs {
		_ = o.SetReadDeadline(time.Now().Add(strayPatience))
	}
	p.draining.Wait()
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
	select {
	case <-p.feeding:
		return
	default:
	}
	p.mu.Lock()
	p.settled = true
	p.mu.Unlock()
	b, interruptible := j.stdin.(*incoming)
	if interruptible {
		b.interrupt()
		defer b.resume()
	}
	<-p.feeding
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
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
	for _, o := range p.outputs {
		_ = o.Close()
	}
}
