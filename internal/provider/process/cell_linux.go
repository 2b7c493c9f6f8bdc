package process

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"lofn"
)

// cell is what surrounds the processes of one replica.
type cell struct {
	machine *linux
	*program
	uid   int // 0 if it has none of its own
	group *group
	// exec is the program's file, in the function's view.
	exec string
	// sockets is the folder for the socket as the function sees it, and dial
	// the same one as the platform does.
	sockets, dial string
	// startup is complete when the replica is ready.
	startup lofn.Startup

	mu      sync.Mutex
	closed  bool
	handles handles
}

// open prepares the surroundings of a replica.
func (m *linux) open(p *program) (c *cell, err error) {
	c = &cell{machine: m, program: p, handles: noHandles()}
	if m.users != nil {
		c.uid = int(m.users.acquire(p.fn.Ref))
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if len(p.watchdog.Process) > 0 {
		if c.exec, err = m.lookup.find(p, variable(c.environ(nil), "PATH")); err != nil {
			return c, err
		}
	}
	m.warn(p)
	if c.group, err = m.cgroups.make(p.id, p.memory, p.milliCPU); err != nil {
		return c, fmt.Errorf("limits: %w", err)
	}
	if m.isolated() {
		return c, c.isolate()
	}
	return c, c.share()
}

// warn tells whose limits have no effect here.
func (m *linux) warn(p *program) {
	if lacks := m.cgroups.lacking(p.memory, p.milliCPU); lacks != "" {
		m.Log.Warn("limits are not enforced: this machine has no control groups that lofn may use", "function", p.fn.Ref, "limits", lacks)
		m.Logs.Append(p.fn.Ref, p.id, "lofn: the limits for "+lacks+" are not enforced: this machine has no control groups that lofn may use")
	}
}

// isolate makes the replica's view.
func (c *cell) isolate() error {
	v := view{
		app:      c.files(),
		hide:     c.machine.Hide,
		readOnly: c.fn.Spec.ReadOnlyRootFilesystem,
		tmpBytes: c.machine.TmpBytes,
		secrets:  c.program.secrets,
		owner:    c.uid,
	}
	from, ns := c.machine.sandbox.base, c.handles.namespace
	if ns >= 0 {
		from = ns
	}
	err := c.machine.sandbox.within(from, func() (err error) {
		if ns < 0 {
			if ns, err = separate(); err != nil {
				return err
			}
		}
		c.handles, err = v.furnish()
		c.handles.namespace = ns
		return err
	})
	if err != nil {
		return fmt.Errorf("prepare the function's view of the machine: %w", err)
	}
	c.sockets = socketDir
	c.dial = "/proc/self/fd/" + strconv.Itoa(c.handles.sockets)
	return nil
}

func (c *cell) Startup() lofn.Startup { return c.startup }

// share makes do without a view: the function sees the machine as it is.
func (c *cell) share() error {
	c.program.dir = c.onMachine(c.program.dir)
	if strings.Contains(c.exec, "/") {
		c.exec = c.onMachine(c.exec)
	}
	c.sockets = filepath.Join(c.machine.run.path, c.id)
	c.dial = c.sockets
	if err := os.Mkdir(c.sockets, 0o700); err != nil {
		return err
	}
	var err error
	if len(filepath.Join(c.sockets, c.id+socketSuffix)) > longestSocket {
		c.sockets, err = os.MkdirTemp("", "lofn")
		c.dial = c.sockets
	}
	return err
}

// socketSuffix follows the ID of a replica in the name of its socket.
const socketSuffix = ".sock"

// longestSocket is what a Unix socket's address has room for.
const longestSocket = len(unix.RawSockaddrUnix{}.Path) - 1

// environ returns the environment of the replica's processes.
func (c *cell) environ(more map[string]string) []string {
	all := make(map[string]string)
	all["PATH"] = c.machine.pathOf(c.program)
	maps.Copy(all, more)
	return c.with(all)
}

// pathOf returns the PATH of the program's processes.
func (m *linux) pathOf(p *program) string {
	if own, ok := p.env["PATH"]; ok {
		return own
	}
	return m.path
}

// inside runs f on a thread from which processes start in the cell, and gives
// it the attributes for them.
func (c *cell) inside(f func(*syscall.SysProcAttr) error) error {
	return c.machine.sandbox.within(c.handles.namespace, func() error {
		sys := c.machine.attributes(c.uid)
		leave, err := c.group.enter(sys)
		if err != nil {
			return fmt.Errorf("limits: %w", err)
		}
		defer func() {
			if err := leave(); err != nil {
				c.machine.Log.Error("a thread stays in a function's control group", "function", c.fn.Ref, "reason", err)
			}
		}()
		return f(sys)
	})
}

// explain turns the failure to execute the program into words.
func (c *cell) explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("cannot run %s: %s, or the interpreter that its first line names, does not exist", c.program, c.exec)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("cannot run %s: the function's user may not execute %s", c.program, c.exec)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("cannot run %s: %s is neither a program for this machine nor a script that begins with #!", c.program, c.exec)
	}
	return fmt.Errorf("cannot run %s: %w", c.program, err)
}

func (c *cell) writeSecret(name string, value []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.handles.secrets < 0 {
		return nil
	}
	return replaceFile(c.handles.secrets, name, value)
}

// forgo lets go of a handle that is not needed in this cell any more.
func (c *cell) forgo(handle *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *handle >= 0 {
		unix.Close(*handle)
		*handle = -1
	}
}

// close removes the surroundings. No process is left in them, except for those
// that escaped where there is no isolation.
func (c *cell) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.handles.close()
	if !c.machine.isolated() {
		sweep([]string{c.id})
		_ = os.RemoveAll(filepath.Join(c.machine.run.path, c.id))
		if c.sockets != "" {
			_ = os.RemoveAll(c.sockets)
		}
	}
	c.group.remove()
	if c.machine.users != nil && c.uid != 0 {
		c.machine.users.release(uint32(c.uid))
	}
}

// fate adds to how a process ended whether it was its memory limit.
func (c *cell) fate(how string) error {
	if c.group.overran() > 0 {
		how = "killed: over its memory limit of " + c.fn.Spec.Limits.Memory + " (" + how + ")"
	}
	return errors.New(how)
}
