package build

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"lofn"
)

// storedImage is an image of the store, as the image library wants it. It needs
// no entry in the store's index.
type storedImage struct {
	images           *Images
	media            types.MediaType
	manifest, config []byte
	layers           []storedBlob
}

var _ partial.CompressedImageCore = &storedImage{}

func (s *Images) image(d v1.Descriptor) (v1.Image, error) {
	i := &storedImage{images: s, media: d.MediaType}
	if err := i.read(d.Digest); err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	return partial.CompressedToImage(i)
}

func (i *storedImage) read(digest v1.Hash) (err error) {
	if i.manifest, err = os.ReadFile(i.images.blob(digest)); err != nil {
		return err
	}
	m, err := v1.ParseManifest(bytes.NewReader(i.manifest))
	if err != nil {
		return fmt.Errorf("%s is damaged: %w", digest, err)
	}
	if i.config, err = os.ReadFile(i.images.blob(m.Config.Digest)); err != nil {
		return err
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(i.config))
	if err != nil {
		return fmt.Errorf("%s is damaged: %w", m.Config.Digest, err)
	}
	if len(config.RootFS.DiffIDs) != len(m.Layers) {
		return fmt.Errorf("%s is damaged: its configuration speaks of %d layers, its manifest of %d", digest, len(config.RootFS.DiffIDs), len(m.Layers))
	}
	for n, d := range m.Layers {
		i.layers = append(i.layers, storedBlob{i.images, d, config.RootFS.DiffIDs[n]})
	}
	return nil
}

func (i *storedImage) RawManifest() ([]byte, error)        { return i.manifest, nil }
func (i *storedImage) RawConfigFile() ([]byte, error)      { return i.config, nil }
func (i *storedImage) MediaType() (types.MediaType, error) { return i.media, nil }

func (i *storedImage) LayerByDigest(digest v1.Hash) (partial.CompressedLayer, error) {
	n := slices.IndexFunc(i.layers, func(b storedBlob) bool { return b.Descriptor.Digest == digest })
	if n < 0 {
		return nil, lofn.Errorf(lofn.Internal, "image store: %s is no layer of the image", digest)
	}
	return i.layers[n], nil
}

// storedBlob is a layer of an image of the store.
type storedBlob struct {
	images *Images
	v1.Descriptor
	diffID v1.Hash
}

func (b storedBlob) Digest() (v1.Hash, error)            { return b.Descriptor.Digest, nil }
func (b storedBlob) DiffID() (v1.Hash, error)            { return b.diffID, nil }
func (b storedBlob) Size() (int64, error)                { return b.Descriptor.Size, nil }
func (b storedBlob) MediaType() (types.MediaType, error) { return b.Descriptor.MediaType, nil }
func (b storedBlob) Compressed() (io.ReadCloser, error) {
	return os.Open(b.images.blob(b.Descriptor.Digest))
}

// storedLayer is a layer in the image store, as the image library wants it.
type storedLayer struct {
	layer
	images *Images
}

var _ v1.Layer = storedLayer{}

func (l storedLayer) Digest() (v1.Hash, error)            { return l.layer.Digest, nil }
func (l storedLayer) DiffID() (v1.Hash, error)            { return l.layer.DiffID, nil }
func (l storedLayer) Size() (int64, error)                { return l.layer.Size, nil }
func (l storedLayer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }
func (l storedLayer) Compressed() (io.ReadCloser, error) {
	return os.Open(l.images.blob(l.layer.Digest))
}
func (l storedLayer) Uncompressed() (io.ReadCloser, error) { return l.open() }

func (l storedLayer) open() (io.ReadCloser, error) {
	file, err := os.Open(l.images.blob(l.layer.Digest))
	if err != nil {
		return nil, err
	}
	zip, err := gzip.NewReader(file)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{zip, file}, nil
}
