package registry

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

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
	registry http.Handler
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
	return reference{
		Reference: parsed,
		wrote:     wrote,
		builtIn:   host == builtIn || slices.Contains(im.hosts, host),
		registry:  im.registry,
		keys:      keys,
	}, nil
}

// options are those for reading from the reference's registry.
func (r reference) options(ctx context.Context) []remote.Option {
	platform := v1.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}
	common := []remote.Option{remote.WithContext(ctx), remote.WithPlatform(platform), remote.WithUserAgent("lofn")}
	if !r.builtIn {
		return append(common, remote.WithAuthFromKeychain(r.keys))
	}
	// A retry helps against a bad network, and here is none.
	once := remote.Backoff{Steps: 1}
	return append(common, remote.WithTransport(loopback{r.registry}), remote.WithRetryBackoff(once), remote.WithRetryStatusCodes())
}

// get returns the image that the reference means on this machine.
func (r reference) get(ctx context.Context) (v1.Image, error) {
	descriptor, err := remote.Get(r.Reference, r.options(ctx)...)
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	image, err := descriptor.Image()
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	return image, nil
}

// explain turns an error of the registry's client, or of unpacking, into one
// for the deployer. Errors that have a code already keep it.
func (r reference) explain(ctx context.Context, err error) error {
	if coded, ok := errors.AsType[*lofn.Error](err); ok {
		return lofn.Errorf(coded.Code, "image: %q: %w", r.wrote, err)
	}
	answer, answered := errors.AsType[*transport.Error](err)
	host := r.Context().RegistryStr()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return lofn.Errorf(lofn.DeadlineExceeded, "image: %q was not read in time: %w", r.wrote, err)
	case ctx.Err() != nil:
		return lofn.Errorf(lofn.Unavailable, "image: reading %q was broken off: %w", r.wrote, err)
	case diskFull(err):
		return lofn.Errorf(lofn.Unavailable, "image: there is no space on the disk for %q: %w", r.wrote, err)
	case onDisk(err):
		return lofn.Errorf(lofn.Unavailable, "image: %q cannot be unpacked on this machine: %w", r.wrote, err)
	case answered && answer.StatusCode == http.StatusNotFound && r.builtIn:
		return r.missing(err)
	case answered && answer.StatusCode == http.StatusNotFound:
		return lofn.Errorf(lofn.Invalid, "image: %q does not exist at %s: %w", r.wrote, host, err)
	case answered && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return lofn.Errorf(lofn.Invalid, "image: %s refuses access to %q: check the name, and log in with a client that writes ~/.docker/config.json: %w", host, r.wrote, err)
	case strings.Contains(err.Error(), "no child with platform"):
		return lofn.Errorf(lofn.Invalid, "image: %q has no variant for %s/%s, which this machine needs: %w", r.wrote, runtime.GOOS, runtime.GOARCH, err)
	case strings.Contains(err.Error(), "unsupported MediaType"):
		return lofn.Errorf(lofn.Invalid, "image: %q is not an image that can be run: %w", r.wrote, err)
	case r.builtIn:
		return lofn.Errorf(lofn.Internal, "image: %q cannot be read from the built-in registry: %w", r.wrote, err)
	default:
		return lofn.Errorf(lofn.Unavailable, "image: %q cannot be read from %s: %w", r.wrote, host, err)
	}
}

// missing says what to do about an image that the built-in registry lacks. The
// client's own text would show a host that does not exist.
func (r reference) missing(cause error) error {
	repository := r.Context().RepositoryStr() + ":" + r.Identifier()
	if strings.Contains(r.Identifier(), ":") {
		repository = r.Context().RepositoryStr() + "@" + r.Identifier()
	}
	return &lofn.Error{
		Code:  lofn.Invalid,
		Text:  `image: "` + r.wrote + `" is not in the built-in registry: push it with "lofn push", or name its registry, such as docker.io/` + repository,
		Cause: cause,
	}
}
