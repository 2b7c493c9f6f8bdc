package network

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ledger says whose each network is: there is a small file for each, its marker,
// in one of these folders. It is written before anything is made of the network,
// and removed after everything is gone, so that nothing can be there without it.
//
//	owners/<process>/<id>  a process is making it or has it
//	spare/<id>             complete, for whoever moves the marker first
//	dead/<id>              to be removed, by anyone
//
// A marker goes from folder to folder by rename, which one process succeeds in.
// Each process has a lock on its folder for as long as it lives, however it ends.
// The marker itself is locked by the plugins that work on the network, which may
// outlive the process that started them.
type ledger struct {
	dir string
	// own is this process' folder below owners, which lock is the lock on.
	own  string
	lock *os.File
}

// The ledger's folders.
const (
	ownersDir = "owners"
	spareDir  = "spare"
	deadDir   = "dead"
)

// newID returns the name of something new.
func newID() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func openLedger(dir string) (*ledger, error) {
	for _, folder := range []string{ownersDir, spareDir, deadDir} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			return nil, err
		}
	}
	l := &ledger{dir: dir}
	for {
		l.own = newID()
		if err := os.Mkdir(l.owner(l.own), 0o700); err != nil {
			return nil, err
		}
		lock, err := tryLock(l.owner(l.own))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		// Another process may have taken the folder for one that is left over.
		if lock != nil && !unlinked(lock) {
			l.lock = lock
			return l, nil
		}
	}
}

// close gives up what this process has to whoever adopts it.
func (l *ledger) close() {
	_ = os.Remove(l.owner(l.own)) // if there is nothing in it
	unlock(l.lock)
}

func (l *ledger) owner(name string) string    { return filepath.Join(l.dir, ownersDir, name) }
func (l *ledger) mine(id string) string       { return filepath.Join(l.owner(l.own), id) }
func (l *ledger) spare(id string) string      { return filepath.Join(l.dir, spareDir, id) }
func (l *ledger) dead(id string) string       { return filepath.Join(l.dir, deadDir, id) }
func (l *ledger) spares() ([]string, error)   { return list(filepath.Join(l.dir, spareDir)) }
func (l *ledger) buriable() ([]string, error) { return list(filepath.Join(l.dir, deadDir)) }

// begin makes the marker of a network that is about to be made.
func (l *ledger) begin() (id string, err error) {
	id = newID()
	return id, os.WriteFile(l.mine(id), nil, 0o600)
}

func (l *ledger) offer(id string) error   { return os.Rename(l.mine(id), l.spare(id)) }
func (l *ledger) discard(id string) error { return os.Rename(l.mine(id), l.dead(id)) }

// forget removes the marker of a network of which nothing is left.
func (l *ledger) forget(id string) error {
	if err := os.Remove(l.dead(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// claim makes one of the spares this process'. There may be none: "".
func (l *ledger) claim() (id string, err error) {
	spares, err := l.spares()
	for _, id := range spares {
		if err := os.Rename(l.spare(id), l.mine(id)); err == nil {
			return id, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", err
}

// adopt makes the network this process', whoever had it.
func (l *ledger) adopt(id string) error {
	owners, err := list(filepath.Join(l.dir, ownersDir))
	if err != nil {
		return err
	}
	for _, owner := range owners {
		err := os.Rename(filepath.Join(l.owner(owner), id), l.mine(id))
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("network %s: %w in %s", id, fs.ErrNotExist, l.dir)
}

// others tells whether another process uses the ledger.
func (l *ledger) others() (bool, error) {
	alive := false
	err := l.eachOther(func(owner string, lock *os.File) error {
		alive = alive || lock == nil
		return nil
	})
	return alive, err
}

// condemn declares dead what those processes had that are no more, save what is
// used.
func (l *ledger) condemn(used func(id string) bool) error {
	return l.eachOther(func(owner string, lock *os.File) error {
		if lock == nil {
			return nil
		}
		ids, err := list(l.owner(owner))
		for _, id := range ids {
			if used(id) {
				continue
			}
			failed := os.Rename(filepath.Join(l.owner(owner), id), l.dead(id))
			if failed != nil && !errors.Is(failed, fs.ErrNotExist) {
				err = errors.Join(err, failed)
			}
		}
		_ = os.Remove(l.owner(owner)) // if there is nothing in it any more
		return err
	})
}

// eachOther calls do for each process but this one, with the lock on its folder
// if it lives no more and else with nil.
func (l *ledger) eachOther(do func(owner string, lock *os.File) error) error {
	owners, err := list(filepath.Join(l.dir, ownersDir))
	for _, owner := range owners {
		if owner == l.own {
			continue
		}
		lock, failed := tryLock(l.owner(owner))
		if errors.Is(failed, fs.ErrNotExist) {
			continue
		}
		if failed == nil {
			failed = do(owner, lock)
		}
		unlock(lock)
		err = errors.Join(err, failed)
	}
	return err
}

// tryLock returns the file with a lock on it, or nil if somebody else has that.
func tryLock(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return file, nil
	}
	file.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, fmt.Errorf("lock on %s: %w", path, err)
}

// unlock gives a lock up at once. If the file is only closed, a child that is
// about to execute its program still has it. The file may be nil.
func unlock(file *os.File) {
	if file != nil {
		_ = unix.Flock(int(file.Fd()), unix.LOCK_UN)
		file.Close()
	}
}

// unlinked tells whether an open file or folder has no name any more.
func unlinked(file *os.File) bool {
	var stat unix.Stat_t
	return unix.Fstat(int(file.Fd()), &stat) == nil && stat.Nlink == 0
}

func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}
