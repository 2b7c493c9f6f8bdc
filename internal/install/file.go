package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// file is one that is to be put somewhere, in the place of what is there.
type file struct {
	path string
	mode fs.FileMode
	open func() (io.ReadCloser, error)
	// replaced is set when do has put it there, and made are the folders that
	// had to be made for it, outermost first.
	replaced bool
	made     []string
}

// textFile is a file with a text.
func textFile(path string, mode fs.FileMode, text string) *file {
	return &file{path: path, mode: mode, open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(text)), nil
	}}
}

// copyOf is a file with what another one has.
func copyOf(from, path string, mode fs.FileMode) *file {
	return &file{path: path, mode: mode, open: func() (io.ReadCloser, error) { return os.Open(from) }}
}

// Beside the file, hidden: what it will be, and what it was.
func (f *file) next() string     { return filepath.Join(filepath.Dir(f.path), ".lofn-new") }
func (f *file) previous() string { return filepath.Join(filepath.Dir(f.path), ".lofn-previous") }

// put puts the file there in one step: whoever opens the path has the old one
// or the new one, whole, also after a power failure. The old one may be a
// program that runs.
func (f *file) put(context.Context) (err error) {
	if f.made, err = makeFolders(filepath.Dir(f.path), 0o755); err != nil {
		return err
	}
	// What an installation left that was killed.
	for _, path := range []string{f.next(), f.previous()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Link(f.path, f.previous()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := f.write(f.next()); err != nil {
		return err
	}
	if err := os.Rename(f.next(), f.path); err != nil {
		return err
	}
	f.replaced = true
	return syncFolder(filepath.Dir(f.path))
}

func (f *file) write(path string) (err error) {
	from, err := f.open()
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if err := to.Chmod(f.mode); err != nil { // whatever the umask says
		return err
	}
	return to.Sync()
}

// takeBack puts the old one there again, or leaves nothing if there was none.
func (f *file) takeBack(context.Context) error {
	errs := []error{ignoreMissing(os.Remove(f.next()))}
	if f.replaced {
		err := os.Rename(f.previous(), f.path)
		if errors.Is(err, fs.ErrNotExist) {
			err = os.Remove(f.path)
		}
		errs = append(errs, err)
	} else {
		errs = append(errs, f.settle())
	}
	for i := len(f.made) - 1; i >= 0; i-- {
		_ = os.Remove(f.made[i]) // others may have put something there
	}
	return errors.Join(errs...)
}

func (f *file) settle() error { return ignoreMissing(os.Remove(f.previous())) }

// equals reports whether the file is there already.
func (f *file) equals() (bool, error) {
	have, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer have.Close()
	want, err := f.open()
	if err != nil {
		return false, err
	}
	defer want.Close()
	a, err := digest(have)
	b, other := digest(want)
	return bytes.Equal(a, b), errors.Join(err, other)
}

func digest(r io.Reader) ([]byte, error) {
	h := sha256.New()
	_, err := io.Copy(h, r)
	return h.Sum(nil), err
}

// makeFolders makes a folder and what it is in, and returns those that were not
// there.
func makeFolders(path string, mode fs.FileMode) (made []string, err error) {
	for dir := path; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			return nil, fmt.Errorf("%s is no folder", dir)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		made = append([]string{dir}, made...)
	}
	for _, dir := range made {
		of := fs.FileMode(0o755)
		if dir == path {
			of = mode
		}
		if err := os.Mkdir(dir, of); err != nil {
			return made, err
		}
		if err := os.Chmod(dir, of); err != nil {
			return made, err
		}
	}
	return made, nil
}

// syncFolder makes a rename in a folder last.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
