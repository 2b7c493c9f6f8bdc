package build

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"lofn"
)

// remotePlace is an image in a registry.
type remotePlace struct {
	ref      name.Reference
	patience time.Duration
}

func remoteAt(text string, patience time.Duration) (place, error) {
	ref, err := name.ParseReference(text)
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "base image %q: it is no image name: use scratch, [registry/]name:tag, oci:FOLDER[:name] or tar:FILE[:name]", text)
	}
	return &remotePlace{ref: ref, patience: patience}, nil
}

func (p *remotePlace) key() string { return p.ref.Name() }

func (p *remotePlace) open(ctx context.Context) (artifact, func(), error) {
	ctx, alive, done := withPatience(ctx, cmp.Or(p.patience, defaultPatience))
	opts := append(remoteOptions(ctx), remote.WithTransport(lively{remote.DefaultTransport, alive}))
	descriptor, err := remote.Get(p.ref, opts...)
	if err != nil {
		err = causeOf(ctx, err)
		done()
		return nil, nil, err
	}
	var a artifact
	if descriptor.MediaType.IsIndex() {
		a, err = descriptor.ImageIndex()
	} else {
		a, err = descriptor.Image()
	}
	return a, done, err
}

// remoteOptions are those for a registry that is not the platform's own.
func remoteOptions(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithUserAgent("lofn"), remote.WithAuthFromKeychain(keychain()), remote.WithRetryBackoff(retries())}
}

// retries is a second in all: a person waits, who can try again.
func retries() remote.Backoff {
	return remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}
}

// explain says what a registry's refusal means for the person who builds.
func (p *remotePlace) explain(err error) error {
	host := p.ref.Context().RegistryStr()
	if silent, ok := errors.AsType[*silentError](err); ok {
		return lofn.Errorf(lofn.Unavailable, "%s %w: try again later", host, silent)
	}
	refusal, answered := errors.AsType[*transport.Error](err)
	_, unreachable := errors.AsType[*net.OpError](err)
	switch {
	case unreachable:
		return lofn.Errorf(lofn.Unavailable, "%s cannot be reached: %w: name another with --base, such as oci:FOLDER or tar:FILE with an image that was fetched elsewhere", host, err)
	case !answered:
		return coded(lofn.Unavailable, err)
	case refusal.StatusCode == http.StatusUnauthorized || refusal.StatusCode == http.StatusForbidden:
		return lofn.Errorf(lofn.Unauthenticated, "%s refuses access (%d): check the name, and log in with docker login, podman login or the like", host, refusal.StatusCode)
	case refusal.StatusCode == http.StatusNotFound:
		return lofn.Errorf(lofn.NotFound, "%s has no such image", host)
	case refusal.StatusCode == http.StatusTooManyRequests:
		return lofn.Errorf(lofn.Unavailable, "%s takes no more requests from here for now (429): wait, log in, or name a mirror of it with --base", host)
	}
	return lofn.Errorf(lofn.Unavailable, "%s answers %d %s: try again later", host, refusal.StatusCode, http.StatusText(refusal.StatusCode))
}

// coded gives a code to an error that has none.
func coded(code lofn.Code, err error) error {
	if _, ok := errors.AsType[*lofn.Error](err); ok {
		return err
	}
	return lofn.Errorf(code, "%w", err)
}

// defaultPatience is how long a registry may be silent, unless Request says.
const defaultPatience = time.Minute

// silentError ends the reading from a registry that sends nothing.
type silentError struct{ after time.Duration }

func (e *silentError) Error() string { return "has been silent for " + e.after.String() }

// withPatience returns a context that ends when alive was not called for so
// long; done releases it.
func withPatience(ctx context.Context, patience time.Duration) (_ context.Context, alive, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(patience, func() { cancel(&silentError{patience}) })
	return ctx, func() { timer.Reset(patience) }, func() {
		timer.Stop()
		cancel(nil)
	}
}

// causeOf is why ctx ended, if it has, and err otherwise.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// lively tells of every sign of life of a registry: what it sends, and what it
// takes. It also tells why a body broke off.
type lively struct {
	http.RoundTripper
	alive func()
}

func (l lively) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r = r.Clone(r.Context())
		r.Body = livelyBody{r.Body, r.Context(), l.alive}
	}
	resp, err := l.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, causeOf(r.Context(), err)
	}
	l.alive()
	resp.Body = livelyBody{resp.Body, r.Context(), l.alive}
	return resp, nil
}

type livelyBody struct {
	io.ReadCloser
	ctx   context.Context
	alive func()
}

func (b livelyBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.alive()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = causeOf(b.ctx, err)
	}
	return n, err
}

// sameRegistry reports whether layers could be mounted from one to the other.
func sameRegistry(a, b name.Reference) bool {
	return strings.EqualFold(a.Context().RegistryStr(), b.Context().RegistryStr())
}
