package process

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is a process that the platform started. It does not use os/exec: that
// keeps a thread waiting and a buffer for each process, and a machine may have
// thousands that are idle.
type child struct {
	pid     int
	pidfd   *os.File // nil on kernels without
	started time.Time
	// exited is closed when the process, and with it all of its PID namespace,
	// is gone. status and usage are set then.
	exited chan struct{}
	status syscall.WaitStatus
	usage  syscall.Rusage

	mu     sync.Mutex
	reaped bool
}

// launch starts a process on the current thread.
func launch(path string, argv []string, attr *syscall.ProcAttr) (*child, error) {
	pidfd := -1
	attr.Sys.PidFD = &pidfd
	pid, _, err := syscall.StartProcess(path, argv, attr)
	if err != nil {
		return nil, err
	}
	c := &child{pid: pid, started: time.Now(), exited: make(chan struct{})}
	if pidfd >= 0 && unix.SetNonblock(pidfd, true) == nil {
		c.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	}
	go c.wait()
	return c, nil
}

// wait reaps the process. It parks in the runtime's poller until then.
func (c *child) wait() {
	defer close(c.exited)
	if c.pidfd != nil {
		defer c.pidfd.Close()
		if conn, err := c.pidfd.SyscallConn(); err == nil && conn.Read(func(uintptr) bool { return c.reap() }) == nil {
			return
		}
	}
	for !c.reap() {
		_ = unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	}
}

// reap reports whether the process has ended.
func (c *child) reap() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := syscall.Wait4(c.pid, &c.status, syscall.WNOHANG, &c.usage)
	c.reaped = pid == c.pid || err != nil && err != syscall.EINTR
	return c.reaped
}

// signal sends a signal to the process, or with a negative number to its
// group, unless the process was reaped and the number may be somebody else's.
func (c *child) signal(pid int, sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reaped {
		_ = syscall.Kill(pid, sig)
	}
}

// terminate asks the process to end. A signal without a handler is lost on the
// first process of a PID namespace, so where there is none it does at once
// what the signal would have done.
func (c *child) terminate() {
	if c.handles(syscall.SIGTERM) {
		c.signal(c.pid, syscall.SIGTERM)
		return
	}
	c.signal(c.pid, syscall.SIGKILL)
}

func (c *child) handles(sig syscall.Signal) bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(c.pid) + "/status")
	if err != nil {
		return false
	}
	for line := range bytes.Lines(status) {
		if mask, ok := bytes.CutPrefix(line, []byte("SigCgt:")); ok {
			caught, _ := strconv.ParseUint(string(bytes.TrimSpace(mask)), 16, 64)
			return caught&(1<<(sig-1)) != 0
		}
	}
	return false
}

// cpu is the time that the process used, and those of its descendants that were
// waited for, once it has exited.
func (c *child) cpu() time.Duration {
	return time.Duration(c.usage.Utime.Nano() + c.usage.Stime.Nano())
}

// fate says how the process ended.
func (c *child) fate() string {
	after := " after " + time.Since(c.started).Round(10*time.Millisecond).String()
	if c.status.Signaled() {
		return "was killed by signal " + strconv.Itoa(int(c.status.Signal())) + " (" + c.status.Signal().String() + ")" + after
	}
	return "exited with status " + strconv.Itoa(c.status.ExitStatus()) + after
}
