package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Daemon is a containerd of the program's own.
type Daemon struct {
	// Socket is the address of its API.
	Socket string
	// Dir holds its data, in root and state.
	Dir string

	output *lockedBuffer
	cmd    *exec.Cmd
	ended  chan struct{}
}

// StartDaemon starts a containerd with its data in a folder, which the caller
// removes after Stop. Its path must be short enough for a socket in it.
func StartDaemon(dir string) (*Daemon, error) {
	d := &Daemon{Socket: filepath.Join(dir, "containerd.sock"), Dir: dir, output: &lockedBuffer{}}
	config := fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[debug]
  level = "warn"
[grpc]
  address = %q
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), d.Socket)
	if err := os.WriteFile(d.config(), []byte(config), 0o600); err != nil {
		return nil, err
	}
	return d, d.Start()
}

func (d *Daemon) config() string { return filepath.Join(d.Dir, "config.toml") }

// Start starts it again, after Kill, and returns when it answers.
func (d *Daemon) Start() error {
	d.cmd = exec.Command("containerd", "--config", d.config())
	d.cmd.Stdout, d.cmd.Stderr = d.output, d.output
	d.ended = make(chan struct{})
	if err := d.cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(d.ended)
		_ = d.cmd.Wait()
	}()
	return d.answers()
}

// answers returns when it does.
func (d *Daemon) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		// It listens when all its plugins are there.
		if conn, err := net.Dial("unix", d.Socket); err == nil {
			return conn.Close()
		}
		select {
		case <-d.ended:
			return fmt.Errorf("containerd ended at once:\n%s", d.output)
		case <-ctx.Done():
			d.Kill()
			return fmt.Errorf("containerd does not answer:\n%s", d.output)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Kill ends it as kill -9 does. The shims, and so the containers, go on.
func (d *Daemon) Kill() { d.end(syscall.SIGKILL) }

// Stop ends it as a service manager does. The shims go on here, too.
func (d *Daemon) Stop() { d.end(syscall.SIGTERM) }

// Pid is that of the process.
func (d *Daemon) Pid() int { return d.cmd.Process.Pid }

func (d *Daemon) end(signal syscall.Signal) {
	_ = d.cmd.Process.Signal(signal)
	<-d.ended
}

// Complaints is what it has written that is no mere information, which shims
// write whatever they are told.
func (d *Daemon) Complaints() string { return d.output.serious() }

// lockedBuffer is written to by a process while the program reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) serious() string {
	var b strings.Builder
	for line := range strings.Lines(l.String()) {
		if !strings.Contains(line, "level=info") && !strings.Contains(line, "devmapper") {
			b.WriteString(line)
		}
	}
	return b.String()
}
