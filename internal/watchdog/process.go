package watchdog

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Command returns the command for a function's process, ready for StartGroup.
// The program is looked up in the PATH of env, not in the caller's; nil env
// means the caller's environment. When ctx ends, cmd.Cancel is called, which
// StartGroup sets to kill the whole process group.
func Command(ctx context.Context, process, env []string, dir string) *exec.Cmd {
	if env == nil {
		env = os.Environ()
	}
	cmd := exec.CommandContext(ctx, process[0], process[1:]...)
	cmd.Path, cmd.Err = lookPath(process[0], env)
	cmd.Env, cmd.Dir = env, dir
	return cmd
}

// killPatience is how long a process may outlive cmd.Cancel before it is killed
// directly. It matters only where a Start function set a Cancel that asks rather
// than kills.
const killPatience = 5 * time.Second

func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := ""
	for _, pair := range env {
		if value, ok := strings.CutPrefix(pair, "PATH="); ok {
			path = value
		}
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		info, err := os.Stat(file)
		if filepath.IsAbs(file) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return name, &exec.Error{Name: name, Err: exec.ErrNotFound}
}

// StartGroup starts the command as the leader of its own process group, and
// sets cmd.Cancel to kill that group. It may be called again after the command
// has ended, to end what that left behind. The command comes from Command or
// exec.CommandContext.
func StartGroup(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	return cmd.Start()
}

// job is one process's work for one call.
type job struct {
	env []string
	// stdin is handed over as it is if it is an *os.File, else copied. An
	// *incoming is left where it is when the process has ended.
	stdin io.Reader
	// stdout is written from one goroutine at a time. Its failure ends the job.
	stdout io.Writer
	// stderr is nil to send standard error to stdout as well.
	stderr io.Writer
}

// A startError says that no process ran.
type startError struct{ error }

func (e startError) Unwrap() error { return e.error }

// run has a process work for a call, and returns when it and everything that it
// started in its group have ended and all its output is written. The error is a
// startError, the cause for which ctx ended, the failure of j.stdin or
// j.stdout, or an *exec.ExitError.
func (w *Watchdog) run(ctx context.Context, j job) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p := w.ahead.take()
	defer w.ahead.release()
	if p == nil {
		var err error
		if p, err = w.launch(j.env, j.stdin, j.stderr != nil); err != nil {
			return startError{err}
		}
	}
	return p.work(ctx, j)
}

// process is a function's process with its pipes. It does one job.
type process struct {
	plumbing
	cmd     *exec.Cmd
	started time.Time
	exited  chan struct{} // closed when it has ended, as err says
	err     error
}

// launch starts a process for a job with that input, whose standard error is
// its output too or kept apart.
func (w *Watchdog) launch(env []string, stdin io.Reader, apart bool) (*process, error) {
	p := &process{exited: make(chan struct{}), started: time.Now()}
	p.plumbing.init(&w.buffers)
	p.cmd = Command(context.Background(), w.config.Process, env, w.options.Dir)
	err := p.connect(p.cmd, stdin, apart)
	if err == nil {
		err = w.options.Start(p.cmd)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	p.closeChildEnds()
	go p.wait(w.options.Ended)
	return p, nil
}

func (p *process) wait(ended func(*os.ProcessState)) {
	awaitExit(p.cmd.Process.Pid)
	p.err = p.cmd.Wait()
	if ended != nil {
		ended(p.cmd.ProcessState)
	}
	close(p.exited)
}

// work has the process do its job; run says how that may end.
func (p *process) work(ctx context.Context, j job) error {
	defer p.close()
	p.pump(j)
	var cause error
	select {
	case <-p.exited:
	case <-p.broken:
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	p.end()
	p.settle(j)

	switch {
	case p.failure() != nil:
		return p.failure()
	case p.err == nil:
		return nil
	case cause != nil:
		return cause
	}
	return p.err
}

// end kills the process, if it has not ended, and what it left in its group.
func (p *process) end() {
	select {
	case <-p.exited:
	default:
		_ = p.cmd.Cancel()
		select {
		case <-p.exited:
		case <-time.After(killPatience):
			_ = p.cmd.Process.Kill()
			<-p.exited
		}
	}
	// A group that still has members keeps its number, so this cannot hit a
	// stranger unless the kernel went through all numbers since Wait returned.
	if p.cmd.Cancel != nil {
		_ = p.cmd.Cancel()
	}
}

// discard ends a process that gets no job. It is dead before its input is
// closed, which it would take for the end of an empty request.
func (p *process) discard() {
	p.end()
	p.close()
}
