package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"lofn"
	"lofn/internal/watchdog"
)

// child is the function's process in mode http.
type child struct {
	cmd     *exec.Cmd
	places  []place
	folder  string // of the socket, if there is one
	started time.Time
	ready   time.Duration
	// listens is true once it has been reached.
	listens atomic.Bool

	stdin   *os.File // held open: some programs end when it ends
	outputs sync.WaitGroup
	exited  chan struct{}
	err     error // why it ended; only after exited
}

// place is where the child may listen.
type place struct{ network, address string }

// startChild starts the process, and does not wait until it listens.
func startChild(config watchdog.Standalone, env []string, log *logger) (*child, error) {
	c := &child{ready: config.ReadyTimeout, exited: make(chan struct{})}
	env, err := c.choosePlaces(config, env)
	if err != nil {
		return nil, err
	}
	log.Printf("Forking: %s, arguments: %s", config.Process[0], config.Process[1:])
	c.cmd = watchdog.Command(context.Background(), config.Process, env, "")
	stdin, stdinEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	c.cmd.Stdin, c.stdin = stdin, stdinEnd
	var ends []*os.File
	for name, to := range map[string]*io.Writer{"stdout": &c.cmd.Stdout, "stderr": &c.cmd.Stderr} {
		end, err := c.logOutput(name, config.PrefixLogs, log)
		if err != nil {
			return nil, err
		}
		defer end.Close()
		*to = end
		ends = append(ends, end)
	}
	started := make(chan error)
	go c.live(started, ends)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("the function's process %q could not be started: %w", config.Process[0], err)
	}
	return c, nil
}

// live starts the process and waits for its end. The kernel ends the child when
// the thread that started it ends, so that thread is this goroutine's alone.
func (c *child) live(started chan<- error, ends []*os.File) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	endWithParent(c.cmd)
	c.started = time.Now()
	err := watchdog.StartGroup(c.cmd)
	started <- err
	if err == nil {
		c.wait(ends)
	}
}

// choosePlaces decides where the child listens: where upstream_url says, or
// else where the environment that it is given says.
func (c *child) choosePlaces(config watchdog.Standalone, env []string) ([]string, error) {
	if u := config.Upstream; u != nil {
		port := u.Port()
		if port == "" {
			port = "80"
		}
		c.places = []place{{"tcp", net.JoinHostPort(u.Hostname(), port)}}
		return env, nil
	}
	if folder, err := os.MkdirTemp("", ".fwatchdog-"); err == nil {
		c.folder = folder
		socket := filepath.Join(folder, "function.sock")
		c.places = append(c.places, place{"unix", socket})
		env = append(env, lofn.EnvSocket+"="+socket)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	c.places = append(c.places, place{"tcp", l.Addr().String()})
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	return append(env, lofn.EnvPort+"="+port, lofn.EnvHTTPPort+"="+port), nil
}

// logOutput returns a pipe whose lines go to the log, of any length.
func (c *child) logOutput(name string, prefix bool, log *logger) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	to := log.lines()
	if prefix {
		to = watchdog.Prefix(to, name)
	}
	log.Printf("Started logging: %s from function.", name)
	c.outputs.Go(func() {
		defer r.Close()
		defer to.Close()
		_, _ = io.Copy(to, r)
	})
	return w, nil
}

func (c *child) wait(ends []*os.File) {
	for _, end := range ends {
		_ = end.Close()
	}
	_ = c.cmd.Wait()
	c.err = fmt.Errorf("Forked function has terminated: %s", c.cmd.ProcessState)
	// What it left behind in its group would hold the log open, or listen.
	_ = c.cmd.Cancel()
	if c.folder != "" {
		_ = os.RemoveAll(c.folder)
	}
	close(c.exited)
}

// lastLines waits for what the process wrote before it ended.
func (c *child) lastLines() {
	written := make(chan struct{})
	go func() { c.outputs.Wait(); close(written) }()
	select {
	case <-written:
	case <-time.After(200 * time.Millisecond): // somebody outlived it, and holds the pipe
	}
}

func (c *child) signal(s syscall.Signal) { _ = c.cmd.Process.Signal(s) }

// end gives the process the rest of the time to end, then kills its group.
func (c *child) end(ctx context.Context) {
	select {
	case <-c.exited:
	case <-ctx.Done():
		_ = c.cmd.Cancel()
		<-c.exited
	}
	_ = c.stdin.Close()
	c.lastLines()
}

// dial connects to the child. As long as it was not reached before, a refusal
// means that it is not ready yet: no call was lost by it, so it is tried again
// until ready_timeout after the start.
func (c *child) dial(ctx context.Context) (net.Conn, error) {
	pause := time.Millisecond
	for {
		conn, err := c.try(ctx)
		if err == nil {
			c.listens.Store(true)
			return conn, nil
		}
		if c.listens.Load() || time.Since(c.started)+pause > c.ready {
			return nil, err
		}
		select {
		case <-c.exited:
			return nil, c.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
			pause = min(2*pause, 50*time.Millisecond)
		}
	}
}

func (c *child) try(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	var failures []string
	for _, p := range c.places {
		conn, err := d.DialContext(ctx, p.network, p.address)
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err.Error())
	}
	return nil, fmt.Errorf("the function does not listen: %s", strings.Join(failures, "; "))
}
