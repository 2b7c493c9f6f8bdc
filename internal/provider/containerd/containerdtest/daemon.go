package containerdtest

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
	"testing"
	"time"
)

// Daemon is a containerd that one test has to itself.
type Daemon struct {
	// Socket is the address of its API.
	Socket string
	// Dir holds its data, in root and state.
	Dir string

	t      testing.TB
	output *lockedBuffer
	cmd    *exec.Cmd
	ended  chan struct{}
}

// Start starts a containerd, which ends with the test.
func Start(t testing.TB) *Daemon {
	t.Helper()
	// Not t.TempDir, whose paths can be too long for a socket.
	dir, err := os.MkdirTemp("", "containerd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("containerd's data: %v", err)
		}
	})
	return StartIn(t, dir)
}

// StartIn is Start with the data in a folder that the caller removes.
func StartIn(t testing.TB, dir string) *Daemon {
	t.Helper()
	Require(t)
	d := &Daemon{Socket: filepath.Join(dir, "containerd.sock"), Dir: dir, t: t, output: &lockedBuffer{}}
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
		t.Fatal(err)
	}
	d.Start()
	t.Cleanup(func() {
		d.end(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("containerd wrote:\n%s", d.output.serious())
		}
	})
	return d
}

func (d *Daemon) config() string { return filepath.Join(d.Dir, "config.toml") }

// Start starts it again, after Kill, and returns when it answers.
func (d *Daemon) Start() {
	d.t.Helper()
	d.cmd = exec.Command("containerd", "--config", d.config())
	d.cmd.Stdout, d.cmd.Stderr = d.output, d.output
	d.ended = make(chan struct{})
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() {
		defer close(d.ended)
		_ = d.cmd.Wait()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		// It listens when all its plugins are there.
		if conn, err := net.Dial("unix", d.Socket); err == nil {
			conn.Close()
			return
		}
		select {
		case <-d.ended:
			d.t.Fatalf("containerd ended at once:\n%s", d.output)
		case <-ctx.Done():
			d.t.Fatalf("containerd does not answer:\n%s", d.output)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Kill ends it as kill -9 does. The shims, and so the containers, go on.
func (d *Daemon) Kill() { d.end(syscall.SIGKILL) }

// Pid is that of the process.
func (d *Daemon) Pid() int { return d.cmd.Process.Pid }

func (d *Daemon) end(signal syscall.Signal) {
	_ = d.cmd.Process.Signal(signal)
	<-d.ended
}

// lockedBuffer is written to by a process while a test reads it.
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

// serious returns the lines that are no mere information, which shims write
// whatever they are told.
func (l *lockedBuffer) serious() string {
	var b strings.Builder
	for line := range strings.Lines(l.String()) {
		if !strings.Contains(line, "level=info") && !strings.Contains(line, "devmapper") {
			b.WriteString(line)
		}
	}
	return b.String()
}
