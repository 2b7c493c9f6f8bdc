package build

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lofn"
)

// grace is how long a blob stays that no image refers to: a build may be about
// to use it, or a push may be reading it.
const grace = time.Hour

// sweep removes blobs that no image refers to, at most once in each grace
// period. The lock is held.
func (s *Images) sweep() error {
	mark := s.file("swept")
	if info, err := os.Stat(mark); err == nil && time.Since(info.ModTime()) < grace {
		return nil
	}
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		return lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	now := time.Now()
	if err := os.Chtimes(mark, now, now); err != nil {
		return lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	return s.sweepBefore(now.Add(-grace))
}

func (s *Images) sweepBefore(limit time.Time) error {
	if err := s.sweepWork(limit.Add(-workGrace)); err != nil {
		return err
	}
	if err := s.sweepBases(limit.Add(-baseGrace)); err != nil {
		return err
	}
	used, err := s.used()
	if err != nil {
		return err
	}
	err = filepath.WalkDir(s.file("blobs"), func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || used[d.Name()] {
			return err
		}
		if info, err := d.Info(); err == nil && info.ModTime().Before(limit) {
			return os.Remove(file)
		}
		return nil
	})
	if err != nil {
		return lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	return nil
}

// workGrace is how much longer a folder stays that somebody works in.
const workGrace = 24 * time.Hour

// sweepWork removes what processes that were killed have left.
func (s *Images) sweepWork(limit time.Time) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || e.Name() == "blobs" || info.ModTime().After(limit) {
			continue
		}
		if err := os.RemoveAll(s.file(e.Name())); err != nil {
			return lofn.Errorf(lofn.Invalid, "image store: %w", err)
		}
	}
	return nil
}

// baseGrace is how much longer a base image stays that no build stands on.
const baseGrace = 30 * 24 * time.Hour

// sweepBases forgets base images: archives that have changed since, above all.
// Images that stand on one have its layers all the same.
func (s *Images) sweepBases(limit time.Time) error {
	index, err := s.readIndex()
	if err != nil {
		return err
	}
	before := len(index.Manifests)
	index.Manifests = slices.DeleteFunc(index.Manifests, func(d v1.Descriptor) bool {
		info, err := os.Stat(s.blob(d.Digest))
		return d.Annotations[annotationBase] != "" && err == nil && info.ModTime().Before(limit)
	})
	if len(index.Manifests) == before {
		return nil
	}
	if err := s.writeIndex(index); err != nil {
		return lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	return nil
}

// used returns the names of all blobs that images refer to.
func (s *Images) used() (map[string]bool, error) {
	index, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, d := range index.Manifests {
		used[d.Digest.Hex] = true
		blobs, err := s.blobs(d)
		if err != nil {
			continue // a damaged image must not keep others from being stored
		}
		for _, b := range blobs {
			used[b.Digest.Hex] = true
		}
	}
	return used, nil
}
