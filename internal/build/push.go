package build

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"lofn"
)

// PushOptions say where images go that do not name a registry.
type PushOptions struct {
	// Gateway is the platform's URL; its registry takes these credentials,
	// unless both are empty.
	Gateway            string
	Username, Password string
	// Insecure accepts any certificate from the gateway.
	Insecure bool
	// Log, if not nil, gets a line for every layer.
	Log io.Writer
}

// Push uploads the image stored under that name and returns its digest. If the
// name begins with a registry's host it goes there, with the credentials that
// docker login or the like has left; otherwise it goes to the gateway's
// registry. Layers that are there already are not sent again.
func Push(ctx context.Context, images *Images, image string, opts PushOptions) (digest string, err error) {
	stored, err := images.Get(image)
	if err != nil {
		return "", err
	}
	ref, remoteOpts, err := opts.target(ctx, image)
	if err != nil {
		return "", err
	}
	if err := opts.upload(ctx, ref, stored, remoteOpts); err != nil {
		return "", pushError(image, ref, err)
	}
	hash, err := stored.Digest()
	if err != nil {
		return "", err
	}
	return hash.String(), nil
}

// NamesRegistry reports whether an image name begins with a registry's host,
// by the rule of every container tool: it has a dot or a port, or is localhost.
func NamesRegistry(image string) bool {
	host, _, slash := strings.Cut(image, "/")
	return slash && (strings.ContainsAny(host, ".:") || host == "localhost")
}

func (opts PushOptions) target(ctx context.Context, image string) (name.Reference, []remote.Option, error) {
	common := []remote.Option{remote.WithContext(ctx), remote.WithUserAgent("lofn")}
	if NamesRegistry(image) {
		ref, err := name.ParseReference(image)
		if err != nil {
			return nil, nil, lofn.Errorf(lofn.Invalid, "image: %w", err)
		}
		return ref, append(common, remote.WithAuthFromKeychain(authn.DefaultKeychain)), nil
	}
	gateway, err := url.Parse(opts.Gateway)
	if err != nil || gateway.Host == "" || gateway.Scheme != "http" && gateway.Scheme != "https" {
		return nil, nil, lofn.Errorf(lofn.Invalid, "gateway: %q is not the URL of a platform, such as http://127.0.0.1:8080", opts.Gateway)
	}
	var nameOpts []name.Option
	if gateway.Scheme == "http" {
		nameOpts = append(nameOpts, name.Insecure)
	}
	ref, err := name.ParseReference(gateway.Host+"/"+image, nameOpts...)
	if err != nil {
		return nil, nil, lofn.Errorf(lofn.Invalid, "image: %w", err)
	}
	if opts.Username != "" || opts.Password != "" {
		common = append(common, remote.WithAuth(&authn.Basic{Username: opts.Username, Password: opts.Password}))
	}
	if opts.Insecure {
		common = append(common, remote.WithTransport(trusting()))
	}
	return ref, common, nil
}

// trusting returns a transport that accepts any certificate.
func trusting() http.RoundTripper {
	t := remote.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // asked for by --tls-no-verify
	return t
}

func (opts PushOptions) upload(ctx context.Context, ref name.Reference, image v1.Image, remoteOpts []remote.Option) error {
	log := &logger{to: opts.Log}
	pusher, err := remote.NewPusher(remoteOpts...)
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for i, l := range layers {
		what, err := uploadLayer(ctx, pusher, ref, l, remoteOpts)
		if err != nil {
			return err
		}
		log.line(fmt.Sprintf("layer %d of %d: %s", i+1, len(layers), what))
	}
	if err := pusher.Push(ctx, ref, image); err != nil {
		return err
	}
	log.line("pushed " + ref.String())
	return nil
}

func uploadLayer(ctx context.Context, pusher *remote.Pusher, ref name.Reference, l v1.Layer, remoteOpts []remote.Option) (string, error) {
	digest, err := l.Digest()
	if err != nil {
		return "", err
	}
	size, err := l.Size()
	if err != nil {
		return "", err
	}
	there, err := remote.Layer(ref.Context().Digest(digest.String()), remoteOpts...)
	if err != nil {
		return "", err
	}
	if ok, err := partial.Exists(there); err == nil && ok {
		return "is there already", nil
	}
	return Size(size) + " sent", pusher.Upload(ctx, ref.Context(), l)
}

// Size returns a number of bytes for people to read, such as "1.2 MiB".
func Size(bytes int64) string {
	const units = "KMGTPE"
	if bytes < 1<<10 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	value, unit := float64(bytes)/(1<<10), 0
	for value >= 1023.95 && unit < len(units)-1 {
		value /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// pushError says what a registry's refusal means for the person who pushes.
func pushError(image string, ref name.Reference, err error) error {
	host := ref.Context().RegistryStr()
	if refusal, ok := errors.AsType[*transport.Error](err); ok {
		switch refusal.StatusCode {
		case http.StatusUnauthorized:
			return lofn.Errorf(lofn.Unauthenticated, "push %s: %s does not accept the credentials: log in first", image, host)
		case http.StatusForbidden:
			return lofn.Errorf(lofn.Forbidden, "push %s: %s does not let this user push there", image, host)
		}
	}
	return lofn.Errorf(lofn.Unavailable, "push %s to %s: %w", image, host, err)
}
