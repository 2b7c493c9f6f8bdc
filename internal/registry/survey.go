package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// surveyor finds out what is wanted, repository by repository, and so what is
// garbage.
type surveyor struct {
	layout
	keep func(digest string) bool
	// since is when things must have been used to be young.
	since   time.Time
	wanted  map[string]bool // blobs, by digest
	garbage garbage
}

func survey(ctx context.Context, l layout, keep func(digest string) bool) (*garbage, error) {
	s := &surveyor{layout: l, keep: keep, since: time.Now().Add(-collectAge), wanted: make(map[string]bool)}
	if err := s.walk(ctx, ""); err != nil {
		return nil, err
	}
	return &s.garbage, s.blobs(ctx)
}

// walk looks at the repository of the name, and at all whose names
// begin with it and a slash.
func (s *surveyor) walk(ctx context.Context, name string) error {
	names, err := folders(s.repository(name))
	if err != nil {
		return err
	}
	// No element of a name begins so.
	own := func(name string) bool { return strings.HasPrefix(name, "_") }
	if slices.ContainsFunc(names, own) {
		if err := s.look(name); err != nil {
			return err
		}
	}
	for _, child := range slices.DeleteFunc(names, own) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.walk(ctx, path.Join(name, child)); err != nil {
			return err
		}
	}
	return nil
}

// look looks at one repository.
func (s *surveyor) look(name string) error {
	dir := s.repository(name)
	tags, err := folders(filepath.Join(dir, tagsName))
	if err != nil {
		return err
	}
	revisions, err := digests(filepath.Join(dir, revisionsName))
	if err != nil {
		return err
	}
	wanted, err := s.wantedManifests(dir, tags, revisions)
	if err != nil {
		return err
	}
	for _, revision := range revisions {
		if !wanted.manifests[revision] {
			s.garbage.manifests = append(s.garbage.manifests, link{repository: name, digest: digest.Digest(revision), tags: tags})
		}
	}
	if err := s.aliases(filepath.Join(dir, layersName), wanted); err != nil {
		return err
	}
	maps.Copy(s.wanted, wanted.manifests)
	maps.Copy(s.wanted, wanted.blobs)
	return s.layers(name, wanted)
}

// wantedManifests reads the manifests of a repository that stay.
func (s *surveyor) wantedManifests(dir string, tags, revisions []string) (*contents, error) {
	wanted := &contents{manifests: make(map[string]bool), blobs: make(map[string]bool)}
	for _, tag := range tags {
		named, err := readLink(filepath.Join(dir, tagsName, tag, currentName))
		if err == nil {
			err = s.add(wanted, named)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, revision := range revisions {
		if wanted.manifests[revision] || !s.keep(revision) && !s.young(revision) {
			continue
		}
		if err := s.add(wanted, revision); err != nil {
			return nil, err
		}
	}
	return wanted, nil
}

// layers looks at what a repository has besides manifests. A push that is
// under way may be slow, and relies on what it has sent long ago.
func (s *surveyor) layers(name string, wanted *contents) error {
	dir := s.repository(name)
	uploads, err := folders(filepath.Join(dir, uploadsName))
	if err != nil {
		return err
	}
	layers, err := digests(filepath.Join(dir, layersName, "sha256"))
	if err != nil {
		return err
	}
	for _, layer := range layers {
		switch {
		case wanted.blobs[layer]:
		case len(uploads) > 0 || s.young(layer):
			s.wanted[layer] = true
		default:
			s.garbage.layers = append(s.garbage.layers, link{repository: name, digest: digest.Digest(layer)})
		}
	}
	return nil
}

// aliases adds what a repository has under digests of another algorithm. No
// common client makes any, so it is not worth finding out who refers to them.
func (s *surveyor) aliases(layers string, to *contents) error {
	algorithms, err := folders(layers)
	if err != nil {
		return err
	}
	for _, algorithm := range algorithms {
		if algorithm == "sha256" {
			continue
		}
		names, err := folders(filepath.Join(layers, algorithm))
		if err != nil {
			return err
		}
		for _, name := range names {
			blob, err := readLink(filepath.Join(layers, algorithm, name, "link"))
			if err != nil {
				return err
			}
			to.blobs[blob] = true
		}
	}
	return nil
}

// blobs finds the blobs that no repository wants.
func (s *surveyor) blobs(ctx context.Context) error {
	root := filepath.Join(s.dir, blobsPath)
	prefixes, err := folders(root)
	if err != nil {
		return err
	}
	for _, prefix := range prefixes {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		blobs, err := digests(filepath.Join(root, prefix))
		if err != nil {
			return err
		}
		for _, blob := range blobs {
			if s.wanted[blob] || s.young(blob) {
				continue
			}
			if info, err := os.Stat(filepath.Join(s.blob(blob), dataName)); err == nil {
				s.garbage.bytes += info.Size()
			}
			s.garbage.blobs = append(s.garbage.blobs, digest.Digest(blob))
		}
	}
	return nil
}

// young reports whether a blob was used within the last hour. One whose age
// cannot be read is taken to be.
func (s *surveyor) young(digest string) bool {
	info, err := os.Stat(s.blob(digest))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return info.ModTime().After(s.since)
}

// contents are digests of what a repository's manifests are made of.
type contents struct{ manifests, blobs map[string]bool }

// manifest is what an image's manifest or an index refers to.
type manifest struct {
	Config    descriptor
	Layers    []descriptor
	Manifests []descriptor
}

type descriptor struct{ Digest string }

// add adds a manifest with all that it refers to. Of one that is missing or
// damaged, which nobody can pull, it is known only that it is wanted.
func (s *surveyor) add(to *contents, digest string) error {
	if !digestPattern.MatchString(digest) || to.manifests[digest] {
		return nil
	}
	to.manifests[digest] = true
	content, err := os.ReadFile(filepath.Join(s.blob(digest), dataName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var m manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return nil
	}
	to.blobs[m.Config.Digest] = true
	for _, layer := range m.Layers {
		to.blobs[layer.Digest] = true
	}
	for _, child := range m.Manifests {
		if err := s.add(to, child.Digest); err != nil {
			return err
		}
	}
	return nil
}
