package containerdtest

import (
	"os"
	"testing"

	"lofn/internal/provider/containerd/containerdtest/sandbox"
)

// Daemon is a containerd that one test has to itself.
type Daemon struct {
	*sandbox.Daemon
	t testing.TB
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
	d, err := sandbox.StartDaemon(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Stop()
		if t.Failed() {
			t.Logf("containerd wrote:\n%s", d.Complaints())
		}
	})
	return &Daemon{d, t}
}

// Start starts it again, after Kill, and returns when it answers.
func (d *Daemon) Start() {
	d.t.Helper()
	if err := d.Daemon.Start(); err != nil {
		d.t.Fatal(err)
	}
}
