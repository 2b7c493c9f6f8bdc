package build

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

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
	// Patience is how long a registry may be silent before the push gives up; 0
	// means five minutes, which some take to put a large layer away.
	Patience time.Duration
	// Log, if not nil, gets a line for every layer.
	Log io.Writer
}

// Push uploads what is stored under that name, for all its platforms, and
// returns its digest. If the name begins with a registry's host it goes there,
// with the credentials that docker login, podman login or the like has left;
// otherwise it goes to the gateway's registry. Layers that are there already are
// not sent again, even if it is the repository of the base image, or of another
// image that was pushed from here, that has them.
func Push(ctx context.Context, images *Images, image string, opts PushOptions) (digest string, err error) {
	stored, err := images.artifact(image)
	if err != nil {
		return "", err
	}
	ctx, alive, done := withPatience(ctx, cmp.Or(opts.Patience, pushPatience))
	defer done()
	ref, remoteOpts, err := opts.target(ctx, image, alive)
	if err != nil {
		return "", err
	}
	u := upload{images: images, name: image, ref: ref, opts: remoteOpts, log: &logger{to: opts.Log}}
	if err := u.all(ctx, stored); err != nil {
		return "", pushError(image, ref, causeOf(ctx, err))
	}
	hash, err := stored.Digest()
	if err != nil {
		return "", err
	}
	return hash.String(), nil
}

const pushPatience = 5 * time.Minute

// NamesRegistry reports whether an image name begins with a registry's host,
// by the rule of every container tool: it has a dot or a port, or is localhost.
func NamesRegistry(image string) bool {
	host, _, slash := strings.Cut(image, "/")
	return slash && (strings.ContainsAny(host, ".:") || host == "localhost")
}

func (opts PushOptions) target(ctx context.Context, image string, alive func()) (name.Reference, []remote.Option, error) {
	if NamesRegistry(image) {
		ref, err := name.ParseReference(image)
		if err != nil {
			return nil, nil, lofn.Errorf(lofn.Invalid, "image: %w", err)
		}
		return ref, append(remoteOptions(ctx), remote.WithTransport(lively{remote.DefaultTransport, alive})), nil
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
	roundTripper := remote.DefaultTransport
	if opts.Insecure {
		roundTripper = trusting()
	}
	common := []remote.Option{remote.WithContext(ctx), remote.WithUserAgent("lofn"), remote.WithTransport(lively{roundTripper, alive})}
	if opts.Username != "" || opts.Password != "" {
		common = append(common, remote.WithAuth(&authn.Basic{Username: opts.Username, Password: opts.Password}))
	}
	return ref, common, nil
}

// trusting returns a transport that accepts any certificate.
func trusting() http.RoundTripper {
	t := remote.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // asked for by --tls-no-verify
	return t
}

// upload sends to one repository.
type upload struct {
	images *Images
	// name is the image's in the store.
	name   string
	ref    name.Reference
	opts   []remote.Option
	pusher *remote.Pusher
	log    *logger
}

func (u *upload) all(ctx context.Context, stored artifact) (err error) {
	if u.pusher, err = remote.NewPusher(u.opts...); err != nil {
		return err
	}
	variants, err := variantsOf(stored)
	if err != nil {
		return err
	}
	for _, image := range variants {
		if err := u.layers(ctx, image); err != nil {
			return err
		}
	}
	if err := u.pusher.Push(ctx, u.ref, stored); err != nil {
		return err
	}
	u.log.line("pushed " + u.ref.String())
	return nil
}

// variantsOf returns an image, or those of an index.
func variantsOf(a artifact) ([]v1.Image, error) {
	index, ok := a.(v1.ImageIndex)
	if !ok {
		return []v1.Image{a.(v1.Image)}, nil
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var all []v1.Image
	for _, d := range m.Manifests {
		image, err := index.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		all = append(all, image)
	}
	return all, nil
}

func (u *upload) layers(ctx context.Context, image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for i, l := range layers {
		size, err := l.Size()
		if err != nil {
			return err
		}
		what := fmt.Sprintf("layer %d of %d", i+1, len(layers))
		sent := &progress{log: u.log, what: what, total: size}
		from, err := u.mountable(image, l)
		if err != nil {
			return err
		}
		there, err := u.layer(ctx, watched{l, sent}, from)
		switch {
		case err != nil:
			return err
		case there:
			u.log.line(what + ": is there already")
		case sent.done == 0:
			u.log.line(what + ": taken from " + from.Context().RepositoryStr())
		default:
			u.log.line(what + ": " + Size(size) + " sent")
		}
	}
	return nil
}

// mountable is where else the registry may have a layer: with the image's base,
// or at the gateway's with another image of the store. It is nil if neither could
// be. Other registries are not asked for more than what was read from them: some
// refuse everything if one part of a question is about what is not there.
func (u *upload) mountable(image v1.Image, l v1.Layer) (name.Reference, error) {
	m, err := image.Manifest()
	if err != nil {
		return nil, err
	}
	from, err := name.ParseReference(m.Annotations[annotationBaseName])
	if err == nil && sameRegistry(from, u.ref) {
		return from, nil
	}
	if NamesRegistry(u.name) {
		return nil, nil
	}
	digest, err := l.Digest()
	if err != nil {
		return nil, err
	}
	others, err := u.images.having(digest)
	if err != nil {
		return nil, err
	}
	for _, other := range others {
		from, err := name.ParseReference(u.ref.Context().RegistryStr() + "/" + other)
		if err == nil && !NamesRegistry(other) && from.Context().RepositoryStr() != u.ref.Context().RepositoryStr() {
			return from, nil
		}
	}
	return nil, nil
}

// layer reports whether the repository has the layer, and sees that it gets it.
func (u *upload) layer(ctx context.Context, l v1.Layer, from name.Reference) (there bool, err error) {
	digest, err := l.Digest()
	if err != nil {
		return false, err
	}
	held, err := remote.Layer(u.ref.Context().Digest(digest.String()), u.opts...)
	if err != nil {
		return false, err
	}
	if ok, err := partial.Exists(held); err == nil && ok {
		return true, nil
	}
	if from != nil {
		l = &remote.MountableLayer{Layer: l, Reference: from}
	}
	return false, u.pusher.Upload(ctx, u.ref.Context(), l)
}

// watched is a layer that tells how much of it has been read.
type watched struct {
	v1.Layer
	read *progress
}

func (w watched) Compressed() (io.ReadCloser, error) {
	content, err := w.Layer.Compressed()
	if err != nil {
		return nil, err
	}
	w.read.done = 0 // it may be sent once more
	return struct {
		io.Reader
		io.Closer
	}{io.TeeReader(content, counted(w.read.add)), content}, nil
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
	if silent, ok := errors.AsType[*silentError](err); ok {
		return lofn.Errorf(lofn.Unavailable, "push %s: %s %w: try again later", image, host, silent)
	}
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
