package build

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"lofn"
)

// archivePlace is an image in a tar archive: one of an OCI image layout, or one
// of "docker save", which newer versions make such that it is both. It may be
// compressed with gzip.
type archivePlace struct {
	file, name string
	info       fs.FileInfo
	// work is a folder for what has to be unpacked.
	work string
}

// archiveAt finds the archive that path, perhaps with ":name" at its end, means.
func archiveAt(abs func(string) string, path, work string) (place, error) {
	file, name := splitPath(abs, path)
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() {
		return nil, lofn.Errorf(lofn.NotFound, "base image tar:%s: there is no file %s", path, file)
	}
	return &archivePlace{file: file, name: name, info: info, work: work}, nil
}

// key takes a file of the same size and time for the same: to read it whole
// would cost as much as to import it.
func (p *archivePlace) key() string {
	return fmt.Sprintf("tar:%s:%s %d %d", p.file, p.name, p.info.Size(), p.info.ModTime().UnixNano())
}

func (p *archivePlace) open(ctx context.Context) (artifact, func(), error) {
	isLayout, err := p.isLayout()
	if err != nil {
		return nil, nil, err
	}
	if !isLayout {
		image, err := p.saved()
		return image, func() {}, err
	}
	folder, err := os.MkdirTemp(p.work, "archive-")
	if err != nil {
		return nil, nil, err
	}
	done := func() { _ = os.RemoveAll(folder) }
	if err := p.unpack(folder); err != nil {
		done()
		return nil, nil, err
	}
	inner, err := openLayout(folder, p.name)
	if err != nil {
		done()
		return nil, nil, err
	}
	a, _, err := inner.open(ctx)
	if err != nil {
		done()
	}
	return a, done, err
}

// reader returns the plain archive.
func (p *archivePlace) reader() (io.ReadCloser, error) {
	file, err := os.Open(p.file)
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewReader(file)
	var plain io.Reader = buffered
	if magic, err := buffered.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		if plain, err = gzip.NewReader(buffered); err != nil {
			_ = file.Close()
			return nil, err
		}
	}
	return struct {
		io.Reader
		io.Closer
	}{plain, file}, nil
}

// each calls see for every entry, until it returns false or an error.
func (p *archivePlace) each(see func(*tar.Header, io.Reader) (more bool, err error)) error {
	plain, err := p.reader()
	if err != nil {
		return err
	}
	defer plain.Close()
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is no tar archive, or damaged: %w", err)
		}
		header.Name = path.Clean(header.Name)
		if more, err := see(header, archive); err != nil || !more {
			return err
		}
	}
}

func (p *archivePlace) isLayout() (found bool, err error) {
	err = p.each(func(h *tar.Header, _ io.Reader) (bool, error) {
		found = h.Name == "oci-layout"
		return !found, nil
	})
	return found, err
}

// unpack writes the files of the layout to the folder.
func (p *archivePlace) unpack(folder string) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	return p.each(func(h *tar.Header, content io.Reader) (bool, error) {
		wanted := h.Name == "oci-layout" || h.Name == "index.json" || strings.HasPrefix(h.Name, "blobs/")
		if !wanted || h.Typeflag != tar.TypeReg {
			return true, nil
		}
		if err := root.MkdirAll(path.Dir(h.Name), 0o755); err != nil {
			return false, err
		}
		file, err := root.Create(h.Name)
		if err != nil {
			return false, err
		}
		_, err = io.Copy(file, content)
		return true, errors.Join(err, file.Close())
	})
}

// saved returns the image of an archive as "docker save" makes it.
func (p *archivePlace) saved() (artifact, error) {
	manifest, err := tarball.LoadManifest(p.reader)
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "it is neither an OCI image layout nor made by docker save: %w", err)
	}
	if p.name == "" && len(manifest) == 1 {
		return tarball.Image(p.reader, nil)
	}
	var tags []string
	for _, image := range manifest {
		tags = append(tags, image.RepoTags...)
	}
	tag, err := name.NewTag(p.name)
	if p.name == "" || err != nil {
		return nil, notOne(len(manifest), p.name, tags)
	}
	image, err := tarball.Image(p.reader, &tag)
	if err != nil {
		return nil, notOne(len(manifest), p.name, tags)
	}
	return image, nil
}

func (p *archivePlace) explain(err error) error { return coded(lofn.Invalid, err) }
