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
	path, err := lookPath(process[0], env)
	return command(ctx, path, err, process, env, dir)
}

// command is Command with a program that was looked up.
func command(ctx context.Context, path string, err error, process, env []string, dir string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, anyPath, process[1:]...)
	cmd.Path, cmd.Err, cmd.Args[0] = path, err, process[0]
	cmd.Env, cmd.Dir = env, dir
	return cmd
}

// find returns the program of the function's process. It is looked up again
// only when it is gone: a PATH may be long.
func (w *Watchdog) find() (string, error) {
	if known := w.program.Load(); known != nil && runnable(*known) {
		return *known, nil
	}
	path, err := lookPath(w.config.Process[0], w.options.Env)
	if err == nil && filepath.IsAbs(path) {
		w.program.Store(&path)
	}
	return path, err
}

// anyPath keeps package exec from looking for the program in its own way.
const anyPath = "/"

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
		if filepath.IsAbs(file) && runnable(file) {
			return file, nil
		}
	}
	return name, &exec.Error{Name: name, Err: exec.ErrNotFound}
}

func runnable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
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
	// flush, if there is one, is called before more output is waited for.
	flush func() error
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
