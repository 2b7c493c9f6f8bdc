package watchdog

import (
	"os/exec"
	"syscall"
)

// exit is a descriptor from which can be read when a process has ended: the one
// of the process itself, or, where the kernel has none, a pipe.
type exit struct {
	fd     int
	pipe   bool
	waited chan error
}

func (e *exit) follow(cmd *exec.Cmd) error {
	if cmd.Process.WithHandle(func(handle uintptr) { e.fd = int(handle) }) == nil {
		return nil
	}
	ends, err := pipe(0)
	if err != nil {
		return err
	}
	e.fd, e.pipe, e.waited = ends[0], true, make(chan error, 1)
	go func() {
		e.waited <- cmd.Wait()
		_ = syscall.Close(ends[1])
	}()
	return nil
}

// wait returns how the process ended, which it has.
func (e *exit) wait(cmd *exec.Cmd) error {
	if e.pipe {
		return <-e.waited
	}
	return cmd.Wait()
}

func (e *exit) close() {
	if e.pipe {
		_ = syscall.Close(e.fd)
	}
}
