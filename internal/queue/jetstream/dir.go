package jetstream

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"lofn"
	"lofn/internal/queue/ledger"
)

// unfinished ends the name of a file that is being written.
const unfinished = ".new"

// Dir is a ledger.Blobs in files.
type Dir struct{ path string }

// OpenDir returns the blobs in a folder, which is made if it is missing.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "the folder of large calls cannot be made: %w", err)
	}
	// So that the folder is there after a power failure.
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "the folder of large calls cannot be made: %w", err)
	}
	return &Dir{path}, nil
}

func (d *Dir) file(name string) string { return filepath.Join(d.path, name) }

// Create implements ledger.Blobs.
func (d *Dir) Create(context.Context) (ledger.Blob, error) {
	name := rand.Text()
	f, err := os.OpenFile(d.file(name+unfinished), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, d.translate(err)
	}
	return &dirBlob{dir: d, file: f, name: name}, nil
}

// Open implements ledger.Blobs.
func (d *Dir) Open(_ context.Context, name string) (io.ReadCloser, error) {
	if !validName(name) {
		return nil, noBlob(name)
	}
	f, err := os.Open(d.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noBlob(name)
	}
	return f, err
}

// Remove implements ledger.Blobs.
func (d *Dir) Remove(_ context.Context, name string) error {
	if !validName(name) {
		return nil
	}
	var errs []error
	for _, file := range []string{name, name + unfinished} {
		if err := os.Remove(d.file(file)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Names implements ledger.Blobs.
func (d *Dir) Names(ctx context.Context) iter.Seq2[string, time.Time] {
	return func(yield func(string, time.Time) bool) {
		folder, err := os.Open(d.path)
		if err != nil {
			return
		}
		defer folder.Close()
		for ctx.Err() == nil {
			entries, err := folder.ReadDir(256)
			if err != nil {
				return
			}
			for _, entry := range entries {
				info, err := entry.Info()
				if err != nil {
					continue // removed meanwhile
				}
				if name := strings.TrimSuffix(entry.Name(), unfinished); validName(name) && !yield(name, info.ModTime()) {
					return
				}
			}
		}
	}
}

// syncFolder makes the names in a folder durable.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// room reports whether the disk has space for that many bytes, and for the
// records after them.
func (d *Dir) room(bytes int) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(d.path, &disk); err != nil {
		return d.translate(err)
	}
	// The field types differ between systems.
	if free := int64(disk.Bavail) * int64(disk.Bsize); free < int64(bytes)+spareForRecords {
		return lofn.Errorf(lofn.Full, "the disk is full: %s has %d MiB free, of which %d are kept for the rest: free some space and retry",
			d.path, free>>20, spareForRecords>>20)
	}
	return nil
}

func (d *Dir) translate(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return lofn.Errorf(lofn.Full, "the disk is full: %w", err)
	}
	return err
}

// validName reports whether a blob may be called so, so that no name leads out
// of the folder.
func validName(name string) bool {
	for _, c := range name {
		if (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return false
		}
	}
	return name != ""
}

func noBlob(name string) error {
	return lofn.Errorf(lofn.NotFound, "the body %q is not kept any more", name)
}

// dirBlob is a ledger.Blob in a file that does not have its name yet.
type dirBlob struct {
	dir       *Dir
	file      *os.File
	name      string
	committed bool
}

// Name implements ledger.Blob.
func (b *dirBlob) Name() string { return b.name }

// Write implements ledger.Blob.
func (b *dirBlob) Write(p []byte) (int, error) {
	if err := b.dir.room(len(p)); err != nil {
		return 0, err
	}
	n, err := b.file.Write(p)
	return n, b.dir.translate(err)
}

// Commit implements ledger.Blob.
func (b *dirBlob) Commit() error {
	if err := errors.Join(b.file.Sync(), b.file.Close()); err != nil {
		return b.dir.translate(err)
	}
	if err := os.Rename(b.file.Name(), b.dir.file(b.name)); err != nil {
		return b.dir.translate(err)
	}
	if err := syncFolder(b.dir.path); err != nil {
		return b.dir.translate(err)
	}
	b.committed = true
	return nil
}

// Discard implements ledger.Blob.
func (b *dirBlob) Discard() {
	if b.committed {
		return
	}
	_ = b.file.Close()
	_ = b.dir.Remove(context.Background(), b.name)
}
