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
	cmd.WaitDelay = killPatience
	return cmd
}

// killPatience is how long a process may outlive cmd.Cancel before the process
// itself is killed directly. It matters only where a Start function set a
// Cancel that asks rather than kills.
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

// run starts the process, feeds it, and returns when it and everything that it
// started in its group have ended and all its output is written. The error is a
// startError, the cause for which ctx ended, the failure of j.stdin or
// j.stdout, or an *exec.ExitError.
func (w *Watchdog) run(ctx context.Context, j job) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &plumbing{cancel: cancel}
	defer p.close()

	cmd := Command(ctx, w.config.Process, j.env, w.options.Dir)
	if err := p.connect(cmd, j); err != nil {
		return startError{err}
	}
	if err := w.options.Start(cmd); err != nil {
		return startError{err}
	}
	p.pump(j)
	err := cmd.Wait()
	// A group that still has members keeps its number, so this cannot hit a
	// stranger unless the kernel went through all numbers since Wait returned.
	if cmd.Cancel != nil {
		_ = cmd.Cancel()
	}
	p.settle(j)

	switch {
	case p.failure() != nil:
		return p.failure()
	case cmd.ProcessState.Success():
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}
