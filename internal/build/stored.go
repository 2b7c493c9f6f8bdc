package build

import (
	"compress/gzip"
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
	images   *Images
	media    types.MediaType
	manifest []byte
}

var _ partial.CompressedImageCore = storedImage{}

func (s *Images) image(d v1.Descriptor) (v1.Image, error) {
	manifest, err := os.ReadFile(s.blob(d.Digest))
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "image store: %w", err)
	}
	return partial.CompressedToImage(storedImage{s, d.MediaType, manifest})
}

func (i storedImage) RawManifest() ([]byte, error)        { return i.manifest, nil }
func (i storedImage) MediaType() (types.MediaType, error) { return i.media, nil }

func (i storedImage) RawConfigFile() ([]byte, error) {
	m, err := partial.Manifest(i)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(i.images.blob(m.Config.Digest))
}

func (i storedImage) LayerByDigest(digest v1.Hash) (partial.CompressedLayer, error) {
	m, err := partial.Manifest(i)
	if err != nil {
		return nil, err
	}
	for _, d := range append(slices.Clone(m.Layers), m.Config) {
		if d.Digest == digest {
			return storedBlob{i.images, d}, nil
		}
	}
	return nil, lofn.Errorf(lofn.Internal, "image store: %s is no part of the image", digest)
}

// storedBlob is a blob of the store.
type storedBlob struct {
	images *Images
	v1.Descriptor
}

func (b storedBlob) Digest() (v1.Hash, error)            { return b.Descriptor.Digest, nil }
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
