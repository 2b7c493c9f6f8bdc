package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"lofn/internal/provider/containerd/containerdtest/sandbox"
)

// apart has this program started again in namespaces of its own, to call inside
// there, or says what is missing for that.
func apart(inside func() int) (status int, missing string) {
	if missing := sandbox.Missing(); missing != "" && !sandbox.Inside() {
		return 0, missing
	}
	return sandbox.Run(inside), ""
}

// isApart reports whether this is the program that was started again.
func isApart() bool { return sandbox.Inside() }

// ownContainerd is a containerd of the benchmark's own.
type ownContainerd = sandbox.Daemon

func startContainerd(dir string) (*ownContainerd, error) { return sandbox.StartDaemon(dir) }

// cgroupParent is for the control groups of what is started for comparison.
func cgroupParent() string { return sandbox.CgroupParent() }

// netns is a network of its own, with nothing but a loopback interface.
type netns struct{ path string }

// newNetns makes one that can be joined at a path.
func newNetns(path string) (*netns, error) {
	n := &netns{path}
	made := make(chan error)
	go func() {
		// The thread ends with the goroutine: it is in the new network.
		runtime.LockOSThread()
		made <- n.make()
	}()
	return n, <-made
}

func (n *netns) make() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	if err := sandbox.Up("lo"); err != nil {
		return err
	}
	if err := os.WriteFile(n.path, nil, 0o600); err != nil {
		return err
	}
	return unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), n.path, "", unix.MS_BIND, "")
}

// within calls do on a thread in the network. What it dials by address, without
// a name to look up, goes through the network.
func (n *netns) within(do func() error) error {
	file, err := os.Open(n.path)
	if err != nil {
		return err
	}
	defer file.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends
		err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

func (n *netns) remove() {
	_ = unix.Unmount(n.path, unix.MNT_DETACH)
	_ = os.Remove(n.path)
}
