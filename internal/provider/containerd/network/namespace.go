package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// makeNamespace makes a network namespace that lives for as long as it is
// mounted at the path.
func makeNamespace(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	file.Close()
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("network namespace: %w", err)
		}
		if err := furnish(); err != nil {
			return err
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount of a network namespace at %s: %w", path, err)
		}
		return nil
	})
}

// onThread runs do on a thread of its own, which is not used for anything else.
func onThread(do func() error) error {
	done := make(chan error)
	go func() {
		// A goroutine that ends while it is locked takes its thread along.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread cannot end, and /proc/self/net is what it sees.
			done <- onThread(do)
			runtime.UnlockOSThread()
			return
		}
		done <- do()
	}()
	return <-done
}

// furnish prepares the network namespace of the current thread: what CNI leaves
// to the runtime, and what containers would need capabilities for.
func furnish() error {
	loopback := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1}}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return fmt.Errorf("loopback interface of a network namespace: %w", err)
	}
	for file, value := range map[string]string{
		// Images that listen on port 80 need no capability for it.
		"/proc/sys/net/ipv4/ip_unprivileged_port_start": "0",
		"/proc/sys/net/ipv4/ping_group_range":           "0 2147483647",
	} {
		if err := os.WriteFile(file, []byte(value), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// isNamespace tells whether a namespace is mounted at the path. After a reboot
// the file can be there without it, if it is on a disk.
func isNamespace(path string) bool {
	var stat unix.Statfs_t
	return unix.Statfs(path, &stat) == nil && int64(stat.Type) == unix.NSFS_MAGIC
}

// removeNamespace removes what makeNamespace has made, or a part of it. Sockets
// and interfaces go with it as soon as no process is left in it.
func removeNamespace(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount of %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
