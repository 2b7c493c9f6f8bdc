package content

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"lofn"
)

// whole is what there is to know about an image before its layers are read.
type whole struct {
	target     ocispec.Descriptor // of the manifest
	manifest   ocispec.Manifest
	configText []byte
	config     ocispec.Image
}

// maxConfig bounds, in bytes, what is read into memory of a configuration, most of
// which is a few thousand.
const maxConfig = 4 << 20

// parseManifest refuses what is no manifest of one image.
func parseManifest(target ocispec.Descriptor, text []byte) (*whole, error) {
	w := &whole{target: target}
	if !images.IsManifestType(target.MediaType) {
		return nil, lofn.Errorf(lofn.Invalid, "what has the digest %s is no image that can be run: its media type is %q", target.Digest, target.MediaType)
	}
	if err := json.Unmarshal(text, &w.manifest); err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "its manifest %s cannot be read: %w", target.Digest, err)
	}
	if err := w.manifest.Config.Digest.Validate(); err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "its manifest %s names no configuration: %w", target.Digest, err)
	}
	if w.manifest.Config.Size > maxConfig {
		return nil, lofn.Errorf(lofn.Invalid, "its configuration has %d bytes, and %d are more than enough", w.manifest.Config.Size, maxConfig)
	}
	if len(w.manifest.Layers) == 0 {
		return nil, lofn.Errorf(lofn.Invalid, "it has no layers, and so no file to run")
	}
	for i, layer := range w.manifest.Layers {
		if !images.IsLayerType(layer.MediaType) {
			return nil, lofn.Errorf(lofn.Invalid, "it is not an image that can be run: its part %d is of the media type %q, which is no layer", i+1, layer.MediaType)
		}
		if err := layer.Digest.Validate(); err != nil {
			return nil, lofn.Errorf(lofn.Invalid, "its layer %d has no digest: %w", i+1, err)
		}
	}
	return w, nil
}

// setConfig reads the configuration.
func (w *whole) setConfig(text []byte) error {
	w.configText = text
	if err := json.Unmarshal(text, &w.config); err != nil {
		return lofn.Errorf(lofn.Invalid, "its configuration %s cannot be read: %w", w.manifest.Config.Digest, err)
	}
	if have, want := len(w.manifest.Layers), len(w.config.RootFS.DiffIDs); have != want {
		return lofn.Errorf(lofn.Invalid, "its configuration speaks of %d layers, its manifest of %d", want, have)
	}
	return nil
}

// parts are the blobs that the manifest refers to.
func (w *whole) parts() []ocispec.Descriptor {
	return append([]ocispec.Descriptor{w.manifest.Config}, w.manifest.Layers...)
}

// parent is the name of the snapshot that has all layers.
func (w *whole) parent() string { return identity.ChainID(w.config.RootFS.DiffIDs).String() }

func (w *whole) describe() lofn.Image {
	c := w.config.Config
	return lofn.Image{
		Digest:       w.target.Digest.String(),
		Env:          c.Env,
		User:         c.User,
		WorkingDir:   c.WorkingDir,
		Process:      slices.Concat(c.Entrypoint, c.Cmd),
		Labels:       c.Labels,
		OS:           w.config.OS,
		Architecture: w.config.Architecture,
	}
}

// suits reports whether containers of this machine can run an image. One for
// processes has other needs, and whoever runs those knows them.
func suits(name string, image lofn.Image) error {
	if image.Labels[lofn.LabelRuntime] == lofn.RuntimeHost {
		return nil
	}
	// What an image does not say cannot be wrong.
	os, arch := image.OS, image.Architecture
	fits := (os == "" || os == runtime.GOOS) && (arch == "" || arch == runtime.GOARCH)
	if !fits && image.Labels[lofn.LabelArchitecture] != lofn.ArchitectureAny {
		return lofn.Errorf(lofn.Invalid, "image: %q is for %s/%s, this machine is %s/%s: build it for this one too, or name an image that is", name, os, arch, runtime.GOOS, runtime.GOARCH)
	}
	if len(image.Process) == 0 {
		return lofn.Errorf(lofn.Invalid, "image: %q has no command: it has neither an ENTRYPOINT nor a CMD, so there is nothing to run", name)
	}
	return nil
}

// carried is an image that has its configuration with it.
type carried struct {
	client.Image
	config ocispec.Descriptor
	layers []digest.Digest
}

// Config implements client.Image. Who reads the blob that it describes finds the
// content in the description.
func (c carried) Config(context.Context) (ocispec.Descriptor, error) { return c.config, nil }

// RootFS implements client.Image.
func (c carried) RootFS(context.Context) ([]digest.Digest, error) { return c.layers, nil }

// Spec implements client.Image.
func (c carried) Spec(context.Context) (ocispec.Image, error) {
	var config ocispec.Image
	err := json.Unmarshal(c.config.Data, &config)
	return config, err
}

// record is the image as containerd's client wants it. It is not asked for the
// platform, which was looked at.
func (w *whole) record(c *client.Client, of images.Image) client.Image {
	config := w.manifest.Config
	config.Data = w.configText
	return carried{client.NewImageWithPlatform(c, of, platforms.All), config, w.config.RootFS.DiffIDs}
}

// manifestType is the media type that a manifest itself tells. In OCI's it may be
// missing.
func manifestType(text []byte) string {
	var m struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
	}
	switch err := json.Unmarshal(text, &m); {
	case err != nil || m.MediaType != "":
		return m.MediaType
	case m.Manifests != nil:
		return ocispec.MediaTypeImageIndex
	}
	return ocispec.MediaTypeImageManifest
}

// choose finds the manifest for this machine in an index.
func choose(index ocispec.Index) (ocispec.Descriptor, error) {
	var others []string
	for _, m := range index.Manifests {
		switch p := m.Platform; {
		case p == nil:
			return m, nil
		case p.OS == runtime.GOOS && p.Architecture == runtime.GOARCH:
			return m, nil
		case p.OS != "unknown": // what is unknown is an attestation
			others = append(others, platforms.Format(*p))
		}
	}
	return ocispec.Descriptor{}, lofn.Errorf(lofn.Invalid, "it has no variant for %s/%s, which this machine needs, only for %s", runtime.GOOS, runtime.GOARCH, strings.Join(others, ", "))
}

// read reads what containerd has of an image, but for its layers.
func (s *Store) read(ctx context.Context, target ocispec.Descriptor) (*whole, error) {
	blobs := s.Client.ContentStore()
	text, err := content.ReadBlob(ctx, blobs, target)
	if err != nil {
		return nil, err
	}
	if images.IsIndexType(target.MediaType) {
		var index ocispec.Index
		if err := json.Unmarshal(text, &index); err != nil {
			return nil, fmt.Errorf("its index %s: %w", target.Digest, err)
		}
		if target, err = choose(index); err != nil {
			return nil, err
		}
		return s.read(ctx, target)
	}
	w, err := parseManifest(target, text)
	if err != nil {
		return nil, err
	}
	if text, err = content.ReadBlob(ctx, blobs, w.manifest.Config); err != nil {
		return nil, err
	}
	return w, w.setConfig(text)
}
