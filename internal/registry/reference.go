package registry

import (
	"bytes"
	"context"
	"net/http"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"lofn"
)

// builtIn stands for the built-in registry in references. No host can have the
// name (RFC 6761).
const builtIn = "lofn.invalid"

// reference is an image's name with the way to its registry.
type reference struct {
	name.Reference
	// wrote is the name as the deployer wrote it, for errors.
	wrote    string
	builtIn  bool
	registry http.RoundTripper
	keys     authn.Keychain
}

// parse reads a name as Docker does, except that without a registry's host it
// means the built-in registry.
func (im *Images) parse(wrote string, credentials []byte) (reference, error) {
	parsed, err := name.ParseReference(wrote, name.WithDefaultRegistry(builtIn))
	if err != nil {
		return reference{}, lofn.Errorf(lofn.Invalid, "image: %q is not an image's name: use [registry/]name[:tag] in lower case, such as echo:1.0: %w", wrote, err)
	}
	host := parsed.Context().RegistryStr()
	if strings.Trim(host, ".:") == "" {
		return reference{}, lofn.Errorf(lofn.Invalid, "image: %q is not an image's name: %q is no host", wrote, host)
	}
	keys, err := parseCredentials(credentials)
	if err != nil {
		return reference{}, lofn.Errorf(lofn.Invalid, "image: %q: %w", wrote, err)
	}
	r := reference{Reference: parsed, wrote: wrote, builtIn: host == builtIn || slices.Contains(im.hosts, host), registry: im.others, keys: keys}
	if r.builtIn {
		r.registry, r.keys = loopback{im.registry}, anonymous{}
	}
	return r, nil
}

// anonymous is a keychain without keys: the built-in registry asks for none here.
type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

// options are those for reading from the reference's registry.
func (r reference) options(ctx context.Context) []remote.Option {
	platform := v1.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}
	return []remote.Option{
		remote.WithContext(ctx), remote.WithPlatform(platform), remote.WithUserAgent("lofn"),
		remote.WithTransport(r.registry), remote.WithAuthFromKeychain(r.keys),
		// Whether a retry helps is for the transport to know.
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}), remote.WithRetryStatusCodes(),
	}
}

// get returns the image that the reference means on this machine.
func (r reference) get(ctx context.Context) (v1.Image, error) {
	descriptor, err := remote.Get(r.Reference, r.options(ctx)...)
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	if descriptor.MediaType.IsSchema1() {
		return nil, r.explain(ctx, schema1())
	}
	image, err := descriptor.Image()
	if err != nil && descriptor.MediaType.IsIndex() && strings.Contains(err.Error(), "no child with platform") {
		err = noVariant(descriptor.Manifest, err)
	}
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	return image, nil
}

// noVariant is the error of an index without an image for this machine.
func noVariant(manifest []byte, cause error) error {
	index, err := v1.ParseIndexManifest(bytes.NewReader(manifest))
	if err != nil {
		return cause
	}
	var others []string
	for _, m := range index.Manifests {
		// What is for no known platform is an attestation.
		if m.Platform != nil && m.Platform.OS != "unknown" {
			others = append(others, m.Platform.String())
		}
	}
	return lofn.Errorf(lofn.Invalid, "it has no variant for %s/%s, which this machine needs, only for %s", runtime.GOOS, runtime.GOARCH, strings.Join(others, ", "))
}
