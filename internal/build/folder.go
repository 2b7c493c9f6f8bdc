package build

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"lofn"
)

// buildFolder holds a folder for every function that was built, in the
// working folder.
const buildFolder = "build"

// folder is a function's build folder, held against other builds of the same
// function until it is released.
type folder struct {
	path string
	lock *os.File
	memo memo
}

// memoFile is where the memo lies in the build folder.
const memoFile = ".lofn.json"

// memo is what a build leaves behind for the next.
type memo struct {
	// Steps has the digest of the inputs of every step whose outputs are kept.
	Steps map[string]string `json:"steps"`
	// Layers has the layers that were packed from kept outputs, by the digest
	// of the inputs.
	Layers map[string]layer `json:"layers"`
	// Tools has the tools whose version was found to do.
	Tools map[string]bool `json:"tools"`
}

// openFolder waits until no other build of the function runs.
func (v *variant) openFolder() (*folder, error) {
	parent := filepath.Dir(v.folder)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "build folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(parent, "."+filepath.Base(v.folder)+".lock"))
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "build folder: %w", err)
	}
	f := &folder{path: v.folder, lock: lock}
	f.readMemo()
	return f, nil
}

func (f *folder) release() { _ = f.lock.Close() }

// readMemo treats a memo that cannot be read as none: everything is made anew.
func (f *folder) readMemo() {
	if data, err := os.ReadFile(filepath.Join(f.path, memoFile)); err == nil {
		if json.Unmarshal(data, &f.memo) != nil {
			f.memo = memo{}
		}
	}
	if f.memo.Steps == nil {
		f.memo.Steps = map[string]string{}
	}
	if f.memo.Tools == nil {
		f.memo.Tools = map[string]bool{}
	}
}

func (f *folder) writeMemo() error {
	data, err := json.Marshal(f.memo)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(f.path, memoFile), data)
}

// assemble makes the build folder hold exactly all, except that the paths in
// kept stay as they are.
func (f *folder) assemble(all sources, kept []string) error {
	if err := f.clear(".", kept); err != nil {
		return lofn.Errorf(lofn.Invalid, "build folder: %w", err)
	}
	for _, p := range all.sorted() {
		if isKept(p, kept) {
			continue
		}
		if err := all[p].write(filepath.Join(f.path, filepath.FromSlash(p))); err != nil {
			return lofn.Errorf(lofn.Invalid, "build folder: %w", err)
		}
	}
	return nil
}

// clear removes what is in the folder at p, except for kept paths and the
// folders that lead there.
func (f *folder) clear(p string, kept []string) error {
	entries, err := os.ReadDir(filepath.Join(f.path, p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		inner := path.Join(p, e.Name())
		switch {
		case isKept(inner, kept):
		case e.IsDir() && leadsTo(inner, kept):
			err = f.clear(inner, kept)
		default:
			err = os.RemoveAll(filepath.Join(f.path, inner))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isKept(p string, kept []string) bool {
	for _, k := range kept {
		if within(p, k) {
			return true
		}
	}
	return false
}

func leadsTo(p string, kept []string) bool {
	for _, k := range kept {
		if within(k, p) {
			return true
		}
	}
	return false
}

func (s source) write(file string) error {
	if s.mode.IsDir() {
		return os.MkdirAll(file, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if s.mode&fs.ModeSymlink != 0 {
		return os.Symlink(s.link, file)
	}
	from, err := s.open()
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, executable(s.mode))
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

// lockFile opens a file and waits until no other process, and no other opener
// of this one, holds it. Closing it lets go.
func lockFile(name string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// writeFile replaces a file in one step.
func writeFile(name string, data []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Chmod(0o644), temp.Close())
	if err != nil {
		return err
	}
	return os.Rename(temp.Name(), name)
}
