package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// runDir is the folder of one provider below Config.RunDir: while a platform
// is upgraded, two processes use Config.RunDir at the same time.
type runDir struct {
	path string
	// at is a handle on it: through it, sockets are in reach however long the
	// path is.
	at *os.File
	// lock is held for as long as the provider lives: a folder whose lock is
	// free is what an earlier run left.
	lock *os.File
}

// lockName is a file in each provider's folder.
const lockName = "lock"

// openRunDir makes a folder of its own below parent, and clears away those that
// nobody uses. It returns their paths, and the IDs of replicas that were in
// them. No other provider may start below parent at the same moment.
func openRunDir(parent string) (d *runDir, stale, earlier []string, err error) {
	if parent, err = filepath.Abs(parent); err != nil {
		return nil, nil, nil, err
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, nil, nil, err
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, e := range entries {
		path := filepath.Join(parent, e.Name())
		ids, used, err := clearRunDir(path)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("clear away an earlier run: %w", err)
		}
		if !used {
			stale, earlier = append(stale, path), append(earlier, ids...)
		}
	}
	d, err = newRunDir(parent)
	return d, stale, earlier, err
}

// clearRunDir removes a folder, unless its provider lives. It returns the IDs
// of the replicas that it had.
func clearRunDir(path string) (ids []string, used bool, err error) {
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR, 0)
	if err == nil {
		defer lock.Close()
		if hold(lock) != nil {
			return nil, true, nil
		}
	}
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, unix.ENOTDIR) {
		return nil, false, err
	}
	for _, e := range entries {
		ids = append(ids, strings.TrimSuffix(e.Name(), socketSuffix))
	}
	return ids, false, os.RemoveAll(path)
}

// newRunDir makes the folder with the first number that is free.
func newRunDir(parent string) (d *runDir, err error) {
	for n := 1; ; n++ {
		d = &runDir{path: filepath.Join(parent, strconv.Itoa(n))}
		if err = os.Mkdir(d.path, 0o700); err == nil {
			break
		}
		if !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	if d.lock, err = os.OpenFile(filepath.Join(d.path, lockName), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if err = hold(d.lock); err == nil {
		d.at, err = os.OpenFile(d.path, unix.O_PATH|unix.O_DIRECTORY, 0)
	}
	if err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return d, nil
}

// hold takes the lock, which goes with the process, or fails at once.
func hold(lock *os.File) error {
	return syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// close removes the folder.
func (d *runDir) close() error {
	return errors.Join(d.at.Close(), os.RemoveAll(d.path), d.lock.Close())
}
