package build

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"lofn"
)

// Images is a store of images by name on this machine's disk, in the OCI image
// layout. Several processes may use one at the same time.
type Images struct{ dir string }

// StoredImage is an entry of the store.
type StoredImage struct {
	Name   string
	Digest string
	// Size is that of the layers as stored, in bytes.
	Size int64
}

const (
	annotationName   = "org.opencontainers.image.ref.name"
	annotationInputs = "lofn.inputs"
)

// OpenImages opens the store in dir, and makes it if need be. With an empty
// dir it is $XDG_DATA_HOME/lofn/images, or the place that stands for it.
func OpenImages(dir string) (*Images, error) {
	if dir == "" {
		data := os.Getenv("XDG_DATA_HOME")
		if !filepath.IsAbs(data) {
			home, err := os.UserHomeDir()
			if err != nil {
				return nil, lofn.Errorf(lofn.Invalid, "image store: %w: set XDG_DATA_HOME", err)
			}
			data = filepath.Join(home, ".local", "share")
		}
		dir = filepath.Join(data, "lofn", "images")
	}
	s := &Images{dir}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	if err := s.begin(); err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	return s, nil
}

// begin writes the files of an empty layout, unless they are there.
func (s *Images) begin() error {
	if _, err := os.Stat(s.file("index.json")); err == nil {
		return nil
	}
	lock, err := lockFile(s.file("lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := os.Stat(s.file("index.json")); err == nil {
		return nil
	}
	if err := writeFile(s.file("oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	return s.writeIndex(&v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}})
}

func (s *Images) file(name string) string { return filepath.Join(s.dir, name) }

func (s *Images) blob(h v1.Hash) string { return filepath.Join(s.dir, "blobs", h.Algorithm, h.Hex) }

func (s *Images) readIndex() (*v1.IndexManifest, error) {
	data, err := os.ReadFile(s.file("index.json"))
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "image store: %s is damaged: %w: remove %s and build again", s.file("index.json"), err, s.dir)
	}
	return &index, nil
}

func (s *Images) writeIndex(index *v1.IndexManifest) error {
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(s.file("index.json"), data)
}

// Put stores image under name, in place of what had that name before, and
// returns its digest.
func (s *Images) Put(name string, image v1.Image) (digest string, err error) {
	return s.put(name, image, "")
}

// put also notes the digest of what the image was built from.
func (s *Images) put(name string, image v1.Image, inputs string) (string, error) {
	lock, err := lockFile(s.file("lock"))
	if err != nil {
		return "", lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	defer lock.Close()
	if err := s.write(image); err != nil {
		return "", lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	descriptor, err := partial.Descriptor(image)
	if err != nil {
		return "", err
	}
	descriptor.Annotations = map[string]string{annotationName: name}
	if inputs != "" {
		descriptor.Annotations[annotationInputs] = inputs
	}
	if err := s.replace(name, *descriptor); err != nil {
		return "", err
	}
	return descriptor.Digest.String(), s.sweep()
}

// write stores an image's blobs, each in one step, so that what has a blob's
// name is the whole blob.
func (s *Images) write(image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		if err := s.writeLayer(l); err != nil {
			return err
		}
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	for _, data := range [][]byte{config, manifest} {
		digest, _, err := v1.SHA256(bytes.NewReader(data))
		if err != nil {
			return err
		}
		if err := writeFile(s.blob(digest), data); err != nil {
			return err
		}
	}
	return nil
}

func (s *Images) writeLayer(l v1.Layer) error {
	digest, err := l.Digest()
	if err != nil {
		return err
	}
	size, err := l.Size()
	if err != nil || s.has(digest, size) {
		return err
	}
	content, err := l.Compressed()
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = s.addLayer(func(w io.Writer) (layer, error) {
		_, err := io.Copy(w, content)
		return layer{Digest: digest}, err
	})
	return err
}

// replace gives name to a manifest that is in the store. The lock is held.
func (s *Images) replace(name string, descriptor v1.Descriptor) error {
	index, err := s.readIndex()
	if err != nil {
		return err
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(d v1.Descriptor) bool { return d.Annotations[annotationName] == name })
	index.Manifests = append(index.Manifests, descriptor)
	if err := s.writeIndex(index); err != nil {
		return lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	return nil
}

// Get returns the image of that name, or a NotFound error.
func (s *Images) Get(name string) (v1.Image, error) {
	index, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	for _, d := range index.Manifests {
		if d.Annotations[annotationName] == name {
			image, err := layout.Path(s.dir).Image(d.Digest)
			if err != nil {
				return nil, lofn.Errorf(lofn.Invalid, "image store: %s: %w: build it again", name, err)
			}
			return image, nil
		}
	}
	return nil, lofn.Errorf(lofn.NotFound, "image %s has not been built here: build it with: lofn build", name)
}

// List returns all images by name.
func (s *Images) List() ([]StoredImage, error) {
	index, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	var all []StoredImage
	for _, d := range index.Manifests {
		m, err := s.manifest(d.Digest)
		if err != nil {
			continue // Get says what is wrong with it
		}
		stored := StoredImage{Name: d.Annotations[annotationName], Digest: d.Digest.String()}
		for _, l := range m.Layers {
			stored.Size += l.Size
		}
		all = append(all, stored)
	}
	slices.SortFunc(all, func(a, b StoredImage) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (s *Images) manifest(digest v1.Hash) (*v1.Manifest, error) {
	file, err := os.Open(s.blob(digest))
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	defer file.Close()
	m, err := v1.ParseManifest(file)
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "image store: %s is damaged: %w", digest, err)
	}
	return m, nil
}

// reuse gives name to an image that was built from the same inputs, and
// reports whether there is one that is whole.
func (s *Images) reuse(name, inputs string) (StoredImage, bool) {
	lock, err := lockFile(s.file("lock"))
	if err != nil {
		return StoredImage{}, false
	}
	defer lock.Close()
	index, err := s.readIndex()
	if err != nil {
		return StoredImage{}, false
	}
	for _, d := range index.Manifests {
		if d.Annotations[annotationInputs] != inputs {
			continue
		}
		size, whole := s.whole(d.Digest)
		if !whole {
			continue
		}
		if d.Annotations[annotationName] != name {
			d.Annotations = map[string]string{annotationName: name, annotationInputs: inputs}
			if s.replace(name, d) != nil {
				return StoredImage{}, false
			}
		}
		return StoredImage{Name: name, Digest: d.Digest.String(), Size: size}, true
	}
	return StoredImage{}, false
}

// whole reports whether all blobs of an image are there, and the layers' size.
func (s *Images) whole(digest v1.Hash) (size int64, ok bool) {
	m, err := s.manifest(digest)
	if err != nil {
		return 0, false
	}
	for _, d := range append(slices.Clone(m.Layers), m.Config) {
		if !s.has(d.Digest, d.Size) {
			return 0, false
		}
	}
	for _, l := range m.Layers {
		size += l.Size
	}
	return size, true
}

func (s *Images) has(digest v1.Hash, size int64) bool {
	info, err := os.Stat(s.blob(digest))
	return err == nil && info.Size() == size
}

// addLayer stores the blob that write makes. It is not part of an image yet,
// and is safe from sweeping for as long as grace.
func (s *Images) addLayer(write func(io.Writer) (layer, error)) (layer, error) {
	temp, err := os.CreateTemp(s.file("blobs"), ".layer-*")
	if err != nil {
		return layer{}, lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	defer os.Remove(temp.Name())
	l, err := write(temp)
	err = errors.Join(err, temp.Chmod(0o644), temp.Close())
	if err != nil {
		return layer{}, err
	}
	if err := os.Rename(temp.Name(), s.blob(l.Digest)); err != nil {
		return layer{}, lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	return l, nil
}
