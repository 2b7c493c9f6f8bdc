package process

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"lofn/internal/watchdog"
)

// forks is a replica in a mode with a process for each call, or none: the
// platform listens in its place.
type forks struct {
	*cell
	watchdog *watchdog.Watchdog
	server   *http.Server
	address  string
	done     chan struct{}
	once     sync.Once
	err      error

	running sync.Mutex
	pids    map[int]bool
	overran int64
}

func (m *linux) startForks(p *program) (instance, error) {
	c, err := m.open(p)
	if err != nil {
		return nil, err
	}
	c.forgo(&c.handles.sockets)
	f := &forks{cell: c, done: make(chan struct{}), pids: make(map[int]bool)}
	if err := f.listen(); err != nil {
		c.close()
		return nil, err
	}
	f.startup.Prepare = time.Since(p.began)
	return f, nil
}

func (f *forks) listen() error {
	f.address = f.machine.socket(f.id)
	listener, err := net.Listen("unix", f.address)
	if err != nil {
		return err
	}
	f.watchdog, err = watchdog.New(f.program.watchdog, watchdog.Options{
		Start:  f.start,
		Env:    f.environ(nil),
		Dir:    f.dir,
		Root:   f.image.Root,
		Stderr: func() io.WriteCloser { return f.machine.Logs.Writer(f.fn.Ref, f.id) },
		Log:    f.machine.Log,
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	f.server = &http.Server{
		Handler:           f.watchdog,
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          slog.NewLogLogger(f.machine.Log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := f.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			f.finish(err)
		}
	}()
	return nil
}

// socket returns a path in the run's folder that is short enough for a socket.
func (m *linux) socket(id string) string {
	path := filepath.Join(m.run.path, id+socketSuffix)
	if len(path) > longestSocket {
		path = "/proc/self/fd/" + strconv.Itoa(int(m.run.at.Fd())) + "/" + id + socketSuffix
	}
	return path
}

// writeSecret also ends the processes that wait for a call: they may have read
// the old value.
func (f *forks) writeSecret(name string, value []byte) error {
	err := f.cell.writeSecret(name, value)
	f.watchdog.Renew()
	return err
}

// start starts the process for a call.
func (f *forks) start(cmd *exec.Cmd) error {
	cmd.Path, cmd.Err = f.exec, nil
	cmd.Cancel = func() error {
		if !f.machine.isolated() {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
		err := cmd.Process.Kill()
		if errors.Is(err, os.ErrProcessDone) {
			f.account(cmd.Process.Pid)
		}
		return err
	}
	err := f.inside(func(sys *syscall.SysProcAttr) error {
		cmd.SysProcAttr = sys
		return cmd.Start()
	})
	if err != nil {
		return f.explain(err)
	}
	f.machine.adopt(cmd.Process.Pid)
	f.running.Lock()
	f.pids[cmd.Process.Pid] = true
	f.running.Unlock()
	return nil
}

// account notes that a process has ended, and whether it was for its limit.
func (f *forks) account(pid int) {
	overran := f.group.overran()
	f.running.Lock()
	delete(f.pids, pid)
	more := overran > f.overran
	f.overran = max(f.overran, overran)
	f.running.Unlock()
	if more {
		f.machine.Logs.Append(f.fn.Ref, f.id, "lofn: a process was killed: over its memory limit of "+f.fn.Spec.Limits.Memory)
	}
}

func (f *forks) Address() (network, address string) { return "unix", f.address }
func (f *forks) Done() <-chan struct{}              { return f.done }
func (f *forks) Err() error                         { return f.err }

// Stop implements fleet.Instance.
func (f *forks) Stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, f.grace)
	defer cancel()
	if err := f.watchdog.Shutdown(ctx); err != nil {
		f.machine.Log.Warn("calls were broken off", "function", f.fn.Ref, "instance", f.id, "reason", err)
	}
	// What is left are answers on their way.
	_ = f.server.Shutdown(ctx)
	f.finish(nil)
	<-f.done
}

func (f *forks) finish(err error) {
	f.once.Do(func() {
		f.err = err
		_ = f.server.Close()
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_ = f.watchdog.Shutdown(now) // none is left but when the server broke
		f.close()
		close(f.done)
		f.ended()
	})
}

// consumed tells of the processes of calls that are on.
func (f *forks) consumed() (cpu time.Duration, memory int64) {
	f.running.Lock()
	var pids []int
	for pid := range f.pids {
		pids = append(pids, family(pid)...)
	}
	f.running.Unlock()
	for _, pid := range pids {
		c, m := spent(pid)
		cpu, memory = cpu+c, memory+m
	}
	return cpu, memory
}
