package install

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// checkMachine looks whether there is somebody to start services, and whether
// this process may tell them to.
func checkMachine() error {
	if os.Geteuid() != 0 {
		return errors.New("this changes the machine, which only root may: run it with sudo")
	}
	// What sd_booted(3) looks at.
	if info, err := os.Lstat("/run/systemd/system"); err != nil || !info.IsDir() {
		return errors.New("this machine does not run systemd: have lofn serve started by what it runs instead, see docs/guides/operations.md, or give --root to install into a folder")
	}
	if _, err := exec.LookPath("systemctl"); err != nil {
		return fmt.Errorf("%w: it belongs to systemd, which this machine runs", err)
	}
	return nil
}

// lock keeps other installations away, by a lock on a folder.
func lock(path string) (release func(), err error) {
	folder, err := os.Open(path)
	if err != nil {
		return func() {}, err
	}
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		folder.Close()
		return func() {}, errors.New("another lofn install or uninstall is at work: wait for its end")
	}
	return func() { folder.Close() }, nil
}

// isLocked reports whether a process holds the lock of a file.
func isLocked(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	return syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == syscall.EWOULDBLOCK
}

// checkWritable looks whether files can be made in a folder, or the folder
// itself.
func checkWritable(path string) error {
	above := existing(path)
	if err := unix.Access(above, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s cannot be written to: %w", above, err)
	}
	return nil
}

// checkSpace looks for free space on the disk of a folder.
func checkSpace(path string, least uint64, advice string) error {
	var disk unix.Statfs_t
	above := existing(path)
	if err := unix.Statfs(above, &disk); err != nil {
		return fmt.Errorf("%s: %w", above, err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < least {
		return fmt.Errorf("the disk of %s has %d MiB left, and %d MiB are needed: %s", above, free>>20, least>>20, advice)
	}
	return nil
}
