package registry

import (
	"context"
	"encoding/json"
	"io"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"lofn"
)

// Open finds the image of a name that has this digest, so that it can be kept as
// it is, with credentials as for ResolveWith. Errors are as those of Resolve.
func (im *Images) Open(ctx context.Context, name, digest string, credentials []byte) (lofn.RemoteImage, error) {
	r, err := im.parse(name, credentials)
	if err != nil {
		return lofn.RemoteImage{}, err
	}
	if !digestPattern.MatchString(digest) {
		return lofn.RemoteImage{}, lofn.Errorf(lofn.Invalid, "image: %q is not a digest: it is sha256: and 64 hexadecimal digits", digest)
	}
	r.Reference = r.Context().Digest(digest)
	puller, err := remote.NewPuller(r.options(ctx)...)
	if err != nil {
		return lofn.RemoteImage{}, r.explain(ctx, err)
	}
	found, err := puller.Get(ctx, r.Reference)
	if err != nil {
		return lofn.RemoteImage{}, r.explain(ctx, err)
	}
	kind, err := imageType(found)
	if err != nil {
		return lofn.RemoteImage{}, r.explain(ctx, err)
	}
	blob := func(ctx context.Context, digest string) (io.ReadCloser, error) {
		return r.blob(ctx, puller, digest)
	}
	return lofn.RemoteImage{Manifest: found.Manifest, MediaType: string(kind), Blob: blob}, nil
}

// imageType is the type of an image's manifest. What the manifest says itself is
// covered by its digest, and some registries put another type beside it.
func imageType(found *remote.Descriptor) (types.MediaType, error) {
	var m struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
	}
	if err := json.Unmarshal(found.Manifest, &m); err != nil {
		return "", lofn.Errorf(lofn.Invalid, "its manifest cannot be read: %w", err)
	}
	kind := found.MediaType
	if m.MediaType != "" {
		kind = m.MediaType
	}
	switch {
	case m.SchemaVersion == 1 || kind.IsSchema1():
		return "", schema1()
	case kind.IsIndex():
		return "", lofn.Errorf(lofn.Invalid, "%s is an index of images for several platforms, not the image for this one", found.Digest)
	case !kind.IsImage():
		return types.OCIManifestSchema1, nil
	}
	return kind, nil
}

// schema1 is the error for what Docker wrote before 2016 (version 1.10).
func schema1() error {
	return lofn.Errorf(lofn.Invalid, "it is in Docker's first format, schema 1, which no digest covers as a whole: pull and push it with a current docker or skopeo, or build it again")
}

// blob opens a part of the image.
func (r reference) blob(ctx context.Context, puller *remote.Puller, digest string) (io.ReadCloser, error) {
	layer, err := puller.Layer(ctx, r.Context().Digest(digest))
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	content, err := layer.Compressed()
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	return explained{content, func(err error) error { return r.explain(ctx, err) }}, nil
}

// explained is a reader whose errors are for the deployer.
type explained struct {
	io.ReadCloser
	explain func(error) error
}

// Read implements io.Reader.
func (e explained) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = e.explain(err)
	}
	return n, err
}
