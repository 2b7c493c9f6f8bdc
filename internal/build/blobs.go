package build

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lofn"
)

// write stores all that an image or an index is made of, each blob in one step,
// so that what has a blob's name is the whole blob.
func (s *Images) write(a artifact) error {
	index, ok := a.(v1.ImageIndex)
	if !ok {
		return s.writeImage(a.(v1.Image), nil)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range m.Manifests {
		image, err := index.Image(d.Digest)
		if err != nil {
			return err
		}
		if err := s.writeImage(image, nil); err != nil {
			return err
		}
	}
	return s.writeManifest(a)
}

// writeImage calls arrived, if it is not nil, with the number of the layers'
// bytes that come, as they come.
func (s *Images) writeImage(image v1.Image, arrived func(n int64)) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	if arrived == nil {
		arrived = func(int64) {}
	}
	for _, l := range layers {
		if err := s.writeLayer(l, arrived); err != nil {
			return err
		}
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	name, err := image.ConfigName()
	if err != nil {
		return err
	}
	if err := s.writeBlob(name, config); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return s.writeManifest(image)
}

func (s *Images) writeManifest(a artifact) error {
	manifest, err := a.RawManifest()
	if err != nil {
		return err
	}
	digest, err := a.Digest()
	if err != nil {
		return err
	}
	return s.writeBlob(digest, manifest)
}

func (s *Images) writeBlob(digest v1.Hash, data []byte) error {
	if got, _, err := v1.SHA256(bytes.NewReader(data)); err != nil || got != digest {
		return errors.Join(err, wrongDigest(digest, got))
	}
	return writeFile(s.blob(digest), data)
}

func wrongDigest(want, got v1.Hash) error {
	return fmt.Errorf("it is damaged: what should be %s is %s", want, got)
}

func (s *Images) writeLayer(l v1.Layer, arrived func(int64)) error {
	digest, err := l.Digest()
	if err != nil {
		return err
	}
	size, err := l.Size()
	if err != nil {
		return err
	}
	if s.has(digest, size) {
		return nil
	}
	content, err := l.Compressed()
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = s.addLayer(func(w io.Writer) (layer, error) {
		sum := sha256.New()
		if _, err := io.Copy(io.MultiWriter(w, sum, counted(arrived)), content); err != nil {
			return layer{}, err
		}
		if got := digestOf(sum); got != digest {
			return layer{}, wrongDigest(digest, got)
		}
		return layer{Digest: digest}, nil
	})
	if err != nil {
		return fmt.Errorf("layer %s: %w", digest, err)
	}
	return nil
}

// counted tells how many bytes were written to it.
type counted func(n int64)

func (c counted) Write(p []byte) (int, error) {
	c(int64(len(p)))
	return len(p), nil
}

// blobs returns the descriptors of all that an entry is made of, itself first.
func (s *Images) blobs(d v1.Descriptor) ([]v1.Descriptor, error) {
	all := []v1.Descriptor{d}
	file, err := os.Open(s.blob(d.Digest))
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	defer file.Close()
	if !d.MediaType.IsIndex() {
		m, err := v1.ParseManifest(file)
		if err != nil {
			return nil, lofn.Errorf(lofn.Invalid, "image store: %s is damaged: %w", d.Digest, err)
		}
		return append(append(all, m.Config), m.Layers...), nil
	}
	index, err := v1.ParseIndexManifest(file)
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "image store: %s is damaged: %w", d.Digest, err)
	}
	for _, child := range index.Manifests {
		inner, err := s.blobs(child)
		if err != nil {
			return nil, err
		}
		all = append(all, inner...)
	}
	return all, nil
}

// whole reports whether all blobs of an entry are there, and the layers' size;
// images that share a layer count it once.
func (s *Images) whole(d v1.Descriptor) (size int64, ok bool) {
	blobs, err := s.blobs(d)
	if err != nil {
		return 0, false
	}
	var counted []v1.Hash
	for _, b := range blobs {
		if !s.has(b.Digest, b.Size) {
			return 0, false
		}
		if b.MediaType.IsLayer() && !slices.Contains(counted, b.Digest) {
			counted = append(counted, b.Digest)
			size += b.Size
		}
	}
	return size, true
}

func (s *Images) has(digest v1.Hash, size int64) bool {
	info, err := os.Stat(s.blob(digest))
	return err == nil && info.Size() == size
}

// addLayer stores the blob that write makes. It is not part of an image yet,
// and is safe from sweeping for as long as grace. After an error nothing of it
// is left.
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
