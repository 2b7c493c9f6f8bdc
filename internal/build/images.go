package build

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"lofn"
)

// Images is a store of images by name on this machine's disk, in the OCI image
// layout. Several processes may use one at the same time. What a name stands
// for is an image, or an index of the images for several platforms.
type Images struct{ dir string }

// StoredImage is an entry of the store.
type StoredImage struct {
	Name   string
	Digest string
	// Size is that of the layers as stored, in bytes; those of all platforms.
	Size int64
}

// artifact is what a name can stand for: a v1.Image or a v1.ImageIndex.
type artifact interface {
	partial.Describable
	RawManifest() ([]byte, error)
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
	stored, err := s.put(name, image, "")
	return stored.Digest, err
}

// put also notes the digest of what the image was built from.
func (s *Images) put(name string, a artifact, inputs string) (StoredImage, error) {
	lock, err := lockFile(s.file("lock"))
	if err != nil {
		return StoredImage{}, lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	defer lock.Close()
	if err := s.write(a); err != nil {
		return StoredImage{}, lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	descriptor, err := partial.Descriptor(a)
	if err != nil {
		return StoredImage{}, err
	}
	size, _ := s.whole(*descriptor)
	descriptor.Annotations = map[string]string{annotationName: name}
	if inputs != "" {
		descriptor.Annotations[annotationInputs] = inputs
	}
	if err := s.replace(isNamed(name), *descriptor); err != nil {
		return StoredImage{}, err
	}
	return StoredImage{Name: name, Digest: descriptor.Digest.String(), Size: size}, s.sweep()
}

func isNamed(name string) func(v1.Descriptor) bool {
	return func(d v1.Descriptor) bool { return d.Annotations[annotationName] == name }
}

// replace puts an entry in the place of those that match. The lock is held, and
// what the entry stands for is in the store.
func (s *Images) replace(matches func(v1.Descriptor) bool, descriptor v1.Descriptor) error {
	index, err := s.readIndex()
	if err != nil {
		return err
	}
	index.Manifests = append(slices.DeleteFunc(index.Manifests, matches), descriptor)
	if err := s.writeIndex(index); err != nil {
		return lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	return nil
}

// Get returns the image of that name, or a NotFound error. Of images for
// several platforms it is the one for this machine's.
func (s *Images) Get(name string) (v1.Image, error) {
	a, err := s.artifact(name)
	if err != nil {
		return nil, err
	}
	if image, ok := a.(v1.Image); ok {
		return image, nil
	}
	return choose(a, v1.Platform{OS: "linux", Architecture: runtime.GOARCH})
}

// artifact returns all that the name stands for, or a NotFound error.
func (s *Images) artifact(name string) (artifact, error) {
	index, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(index.Manifests, isNamed(name))
	if i < 0 {
		return nil, lofn.Errorf(lofn.NotFound, "image %s has not been built here: build it with: lofn build", name)
	}
	a, err := s.read(index.Manifests[i])
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "image store: %s: %w: build it again", name, err)
	}
	return a, nil
}

func (s *Images) read(d v1.Descriptor) (artifact, error) {
	if !d.MediaType.IsIndex() {
		return s.image(d)
	}
	all, err := layout.Path(s.dir).ImageIndex()
	if err != nil {
		return nil, err
	}
	return all.ImageIndex(d.Digest)
}

// List returns all images by name.
func (s *Images) List() ([]StoredImage, error) {
	index, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	var all []StoredImage
	for _, d := range index.Manifests {
		name, named := d.Annotations[annotationName]
		if !named {
			continue
		}
		// Get says what is wrong with one that is not whole.
		if size, ok := s.whole(d); ok {
			all = append(all, StoredImage{Name: name, Digest: d.Digest.String(), Size: size})
		}
	}
	slices.SortFunc(all, func(a, b StoredImage) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// having returns the names of the images that have a layer.
func (s *Images) having(digest v1.Hash) ([]string, error) {
	index, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range index.Manifests {
		name := d.Annotations[annotationName]
		blobs, err := s.blobs(d)
		if err != nil || name == "" {
			continue
		}
		if slices.ContainsFunc(blobs, func(b v1.Descriptor) bool { return b.Digest == digest }) {
			names = append(names, name)
		}
	}
	return names, nil
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
		size, whole := s.whole(d)
		if !whole {
			continue
		}
		if d.Annotations[annotationName] != name {
			d.Annotations = map[string]string{annotationName: name, annotationInputs: inputs}
			if s.replace(isNamed(name), d) != nil {
				return StoredImage{}, false
			}
		}
		return StoredImage{Name: name, Digest: d.Digest.String(), Size: size}, true
	}
	return StoredImage{}, false
}
