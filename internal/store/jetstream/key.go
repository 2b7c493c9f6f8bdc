package jetstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"lofn"
)

// Key is a secret key for AES-256.
type Key [32]byte

// String keeps a key out of logs.
func (Key) String() string { return "(key)" }

// GoString keeps a key out of logs.
func (Key) GoString() string { return "jetstream.Key{…}" }

// NewSealedStore opens a bucket whose records are encrypted with the key in a
// file, which LoadKey makes if the bucket has no records yet. If it has some
// and the key is missing, or is another, that is an error and nothing is
// written.
func NewSealedStore[T any](ctx context.Context, engine *Engine, bucket, keyPath string) (*Store[T], error) {
	s, entries, err := open[T](ctx, engine, bucket)
	if err != nil {
		return nil, err
	}
	key, err := ReadKey(keyPath)
	if errors.Is(err, fs.ErrNotExist) {
		for range live(entries) {
			return nil, lofn.Errorf(lofn.Internal, "the key file %s is missing, and the encrypted records of %s in %s cannot be read without it: restore the file from a backup", keyPath, bucket, engine.dir)
		}
		key, err = LoadKey(keyPath)
	}
	if err != nil {
		return nil, err
	}
	s.codec = Sealed[T](key)
	for e := range live(entries) {
		if _, err := s.record(e); err != nil {
			return nil, lofn.Errorf(lofn.Internal, "the key file %s does not open the encrypted records: %w: restore the file that they were made with", keyPath, err)
		}
	}
	return s, nil
}

// LoadKey returns the key in a file, and makes the file at first use. It must
// be readable by its owner only.
func LoadKey(path string) (Key, error) {
	key, err := ReadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := createKey(path); err != nil {
		return Key{}, lofn.Errorf(lofn.Unavailable, "the key file %s cannot be made: %w", path, err)
	}
	// Another process may have been first: what is in the file counts.
	return ReadKey(path)
}

// ReadKey returns the key in a file. Its error wraps fs.ErrNotExist if there
// is no such file.
func ReadKey(path string) (Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Key{}, lofn.Errorf(lofn.Unavailable, "the key file cannot be read: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return Key{}, lofn.Errorf(lofn.Internal, "the key file %s is not a file", path)
	case info.Mode().Perm()&0o077 != 0:
		return Key{}, lofn.Errorf(lofn.Internal, "the key file %s can be read by others (mode %#o): run chmod 600 %s", path, info.Mode().Perm(), path)
	case info.Size() != int64(len(Key{})):
		return Key{}, lofn.Errorf(lofn.Internal, "the key file %s has %d bytes, a key has %d: restore it from a backup", path, info.Size(), len(Key{}))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Key{}, lofn.Errorf(lofn.Unavailable, "the key file cannot be read: %w", err)
	}
	if len(data) != len(Key{}) {
		return Key{}, lofn.Errorf(lofn.Internal, "the key file %s changed while it was read", path)
	}
	return Key(data), nil
}

// createKey writes a new key to path unless there is a file already. The file
// appears whole or not at all, and is on disk when createKey returns.
func createKey(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".key-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	var key Key
	rand.Read(key[:])
	_, err = f.Write(key[:])
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	// Unlike a rename, a link does not replace a file that came meanwhile.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
