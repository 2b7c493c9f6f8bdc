package containerdtest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Until waits for a condition that nobody tells of.
func Until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !condition() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("waited for: %s", what)
		}
	}
}

// Parent is the parent of a process.
func Parent(t testing.TB, pid int) int {
	t.Helper()
	fields := stat(pid)
	if len(fields) < 2 {
		t.Fatalf("there is no process %d", pid)
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return parent
}

// stat returns the fields after the name: the state, the parent and so on.
func stat(pid int) []string {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}

// Shims returns the shims of the containerd with its data in a folder.
func (d *Daemon) Shims() (pids []int) {
	entries, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, entry := range entries {
		line, err := os.ReadFile(entry)
		if err != nil {
			continue
		}
		words := strings.Split(string(line), "\x00")
		if strings.HasPrefix(filepath.Base(words[0]), "containerd-shim") && slices.Contains(words, d.Socket) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(entry)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// Crash ends containerd, its shims and all its containers, and unmounts what
// they had below the folders: as the machine's power failing does.
func (d *Daemon) Crash(folders ...string) {
	d.t.Helper()
	d.Kill()
	for _, shim := range d.Shims() {
		for _, child := range children(shim) {
			_ = unix.Kill(child, unix.SIGKILL)
		}
		_ = unix.Kill(shim, unix.SIGKILL)
	}
	Until(d.t, "the shims have ended", func() bool { return len(d.Shims()) == 0 })
	for _, folder := range append(folders, d.Dir) {
		unmount(d.t, folder)
	}
	if err := os.RemoveAll(filepath.Join(d.Dir, "state")); err != nil {
		d.t.Fatal(err)
	}
}

func children(pid int) (list []int) {
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, entry := range entries {
		child, _ := strconv.Atoi(filepath.Base(entry))
		if fields := stat(child); len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			list = append(list, child)
		}
	}
	return list
}

func unmount(t testing.TB, folder string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range slices.Backward(strings.Split(string(mounts), "\n")) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], folder+"/") {
			if err := unix.Unmount(fields[4], unix.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", fields[4], err)
			}
		}
	}
}
