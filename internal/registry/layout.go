package registry

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The layout of the registry's folder is the library's, which describes it at
// pathFor in its package storage and keeps to it from version to version. It
// has no way to ask for the age of things, nor one to list them that is fast
// enough to be used often.
const (
	repositoriesPath = "/docker/registry/v2/repositories"
	blobsPath        = "/docker/registry/v2/blobs/sha256"

	// Within the folder of a repository.
	tagsName      = "_manifests/tags"
	revisionsName = "_manifests/revisions/sha256"
	layersName    = "_layers"
	uploadsName   = "_uploads"
	// currentName is the link to a manifest within the folder of a tag.
	currentName = "current/link"
	// dataName is the content within the folder of a blob.
	dataName = "data"
)

// layout knows where things are in the registry's folder, dir.
type layout struct{ dir string }

func (l layout) repository(name string) string {
	return filepath.Join(l.dir, repositoriesPath, name)
}

// blob is a folder, too. The digest must be valid.
func (l layout) blob(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return filepath.Join(l.dir, blobsPath, hex[:2], hex)
}

// readLink returns the digest that a link holds, or "" if there is no such link
// or, as the library would find too, nothing useful in it.
func readLink(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if digest := string(content); digestPattern.MatchString(digest) {
		return digest, nil
	}
	return "", nil
}

// folders lists the folders in one that may be missing.
func folders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// digests lists the folders in one that are named by the second part of a
// digest.
func digests(dir string) ([]string, error) {
	names, err := folders(dir)
	var digests []string
	for _, name := range names {
		if digest := "sha256:" + name; digestPattern.MatchString(digest) {
			digests = append(digests, digest)
		}
	}
	return digests, err
}
