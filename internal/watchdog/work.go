package watchdog

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// process is a function's process with its pipes. It does one job.
type process struct {
	plumbing
	events  events
	buffers *sync.Pool
	cmd     *exec.Cmd
	started time.Time
	exit    exit
	err     error // how it ended; only after reap

	feeding chan struct{} // closed when the input needs nobody's care any more; nil if it never did

	mu      sync.Mutex
	failure error // why the job cannot be done
	cause   error // why it was broken off
	gone    bool  // the process has ended: its number may be another's
	settled bool  // the input may fail from now on
}

// launch starts a process for a job with that input, whose standard error is
// its output too or kept apart.
func (w *Watchdog) launch(env []string, stdin io.Reader, apart bool) (*process, error) {
	p := &process{buffers: &w.buffers, started: time.Now()}
	path, err := w.find()
	p.cmd = command(context.Background(), path, err, w.config.Process, env, w.options.Dir)
	err = p.connect(p.cmd, stdin, apart)
	if err == nil {
		err = p.events.open()
	}
	if err == nil {
		err = w.options.Start(p.cmd)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	p.closeChildEnds()
	if err := p.follow(); err != nil {
		_ = p.cmd.Cancel()
		_ = p.exit.wait(p.cmd)
		p.close()
		return nil, err
	}
	return p, nil
}

// exitKey is the key of the process's end in its events; its outputs have
// their numbers.
const exitKey = -1

func (p *process) follow() error {
	err := p.exit.follow(p.cmd)
	if err == nil {
		err = p.events.add(p.exit.fd, exitKey)
	}
	for i, fd := range p.outputs {
		if err == nil {
			err = p.events.add(fd, int32(i))
		}
	}
	return err
}

// work has the process do its job; run says how that may end.
func (p *process) work(ctx context.Context, j job) error {
	defer p.close()
	defer context.AfterFunc(ctx, func() { p.halt(context.Cause(ctx)) })()
	p.feed(j.stdin)
	p.attend(j)
	p.reap()
	p.settle(j)

	switch {
	case p.failure != nil:
		return p.failure
	case p.err == nil:
		return nil
	case p.cause != nil:
		return p.cause
	}
	return p.err
}

// feed gives the process its input, in a goroutine if that takes time.
func (p *process) feed(stdin io.Reader) {
	if p.input < 0 || p.fits(stdin) {
		return
	}
	to := p.open()
	p.feeding = make(chan struct{})
	go func() {
		defer close(p.feeding)
		if err := supply(to, stdin); err != nil {
			p.fail(err)
		}
	}()
}

// supply copies stdin to the process. A process that closes its standard input
// does not want the rest, which is read and dropped, so that the client gets
// its request sent and its going is noticed.
func supply(to *os.File, stdin io.Reader) error {
	_, err := io.Copy(to, stdin)
	_ = to.Close()
	var input inputError
	if err != nil && !errors.As(err, &input) {
		_, err = io.Copy(io.Discard, stdin)
	}
	return err
}

// attend passes on what the process writes, until it has ended.
func (p *process) attend(j job) {
	buf := p.buffers.Get().(*[]byte)
	defer p.buffers.Put(buf)
	var ready [3]event
	for {
		n, err := p.await(j, ready[:])
		if err != nil { // it has been told to end, and does not
			p.events.limit(0)
			_ = p.cmd.Process.Kill()
			continue
		}
		for _, e := range ready[:n] {
			if e.Fd == exitKey {
				return
			}
			p.relay(int(e.Fd), j, *buf)
		}
	}
}

// await waits for the process. What it has written so far is on its way before.
func (p *process) await(j job, ready []event) (int, error) {
	if n := p.events.look(ready); n > 0 {
		return n, nil
	}
	if j.flush != nil {
		if err := j.flush(); err != nil {
			p.fail(err)
		}
	}
	return p.events.await(ready)
}

// relay passes on one piece of an output.
func (p *process) relay(i int, j job, buf []byte) int {
	to := j.stdout
	if i > 0 {
		to = j.stderr
	}
	n, err := p.pass(i, to, buf)
	if err != nil {
		p.fail(err)
	}
	return n
}

// fail breaks the job off, for the first reason that it is given.
func (p *process) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure == nil && !p.settled {
		p.failure = err
		p.kill()
	}
}

// halt ends the process, unless it has ended.
func (p *process) halt(cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		p.cause = cause
		p.kill()
	}
}

// kill ends the process, unless it has ended; p.mu is held.
func (p *process) kill() {
	if !p.gone {
		_ = p.cmd.Cancel()
		p.events.limit(killPatience)
	}
}

// reap waits for the process, which has ended, and kills what it left in its
// group.
func (p *process) reap() {
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	p.events.remove(p.exit.fd)
	p.err = p.exit.wait(p.cmd)
	// A group that still has members keeps its number, so this cannot hit a
	// stranger unless the kernel went through all numbers since wait returned.
	_ = p.cmd.Cancel()
}

// strayPatience is how long output is awaited from processes that outlived
// the group, by leaving it. What the group itself wrote is in the pipe already.
const strayPatience = 500 * time.Millisecond

// settle waits until all output is written and nobody reads stdin any more.
// The processes have ended.
func (p *process) settle(j job) {
	p.finish(j)
	p.closeInput()
	if p.feeding == nil {
		return
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

// finish passes on what is left of the output.
func (p *process) finish(j job) {
	buf := p.buffers.Get().(*[]byte)
	defer p.buffers.Put(buf)
	p.empty(j, *buf)
	if p.ended() {
		return
	}
	p.events.limit(strayPatience)
	var ready [3]event
	for !p.ended() {
		n, err := p.await(j, ready[:])
		if err != nil {
			p.empty(j, *buf)
			return
		}
		for _, e := range ready[:n] {
			p.relay(int(e.Fd), j, *buf)
		}
	}
}

// mostInPipe is how much a pipe can hold. More is not taken without waiting,
// lest somebody who goes on writing keeps the call.
const mostInPipe = 1 << 20

// empty passes on what is in the pipes and does not wait for more.
func (p *process) empty(j job, buf []byte) {
	for i := range p.outputs {
		for total := 0; total < mostInPipe && p.outputs[i] >= 0; {
			n := p.relay(i, j, buf)
			if n == 0 {
				break
			}
			total += n
		}
	}
}

// discard ends a process that gets no job. It is dead before its input is
// closed, which it would take for the end of an empty request.
func (p *process) discard() {
	p.halt(context.Canceled)
	p.attend(job{stdout: io.Discard, stderr: io.Discard})
	p.reap()
	p.close()
}

func (p *process) close() {
	p.plumbing.close()
	p.exit.close()
	p.events.close()
}
