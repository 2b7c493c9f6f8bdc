package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"lofn"
)

// explain turns an error of the registry's client, or of unpacking, into one
// for the deployer. Errors that have a code already keep it.
func (r reference) explain(ctx context.Context, err error) error {
	if coded, ok := errors.AsType[*lofn.Error](err); ok {
		text := fmt.Sprintf("image: %q: %v", r.wrote, coded)
		return &lofn.Error{Code: coded.Code, Text: text, Cause: coded, RetryAfter: coded.RetryAfter}
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return lofn.Errorf(lofn.DeadlineExceeded, "image: %q was not read in time: %w", r.wrote, err)
	case ctx.Err() != nil:
		return lofn.Errorf(lofn.Unavailable, "image: reading %q was broken off: %w", r.wrote, err)
	case diskFull(err):
		return lofn.Errorf(lofn.Unavailable, "image: there is no space on the disk for %q: %w", r.wrote, err)
	case onDisk(err):
		return lofn.Errorf(lofn.Unavailable, "image: %q cannot be unpacked on this machine: %w", r.wrote, err)
	}
	if answer, ok := errors.AsType[*transport.Error](err); ok {
		return r.explainAnswer(answer)
	}
	return r.explainConversation(err)
}

// explainAnswer is for what the registry says itself.
func (r reference) explainAnswer(answer *transport.Error) error {
	host := r.Context().RegistryStr()
	switch status := answer.StatusCode; {
	case status == http.StatusNotFound && r.builtIn:
		return r.missing(answer)
	case r.builtIn:
		return lofn.Errorf(lofn.Internal, "image: %q cannot be read from the built-in registry: %w", r.wrote, answer)
	case status == http.StatusNotFound:
		return lofn.Errorf(lofn.Invalid, "image: %q does not exist at %s: %w", r.wrote, host, answer)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return lofn.Errorf(lofn.Invalid, "image: %s refuses access to %q: check the name, and the credentials: those of the secret that the annotation %s names, or else those that docker login or the like has left on this machine: %w", host, r.wrote, lofn.AnnotationPullSecret, answer)
	case status == http.StatusTooManyRequests:
		return lofn.Errorf(lofn.Unavailable, "image: %s has had too many requests for %q and the like from here: log in there, or try later: %w", host, r.wrote, answer)
	default:
		return lofn.Errorf(lofn.Unavailable, "image: %q cannot be read from %s: %w", r.wrote, host, answer)
	}
}

// explainConversation is for what goes wrong on the way, or in what comes.
func (r reference) explainConversation(err error) error {
	host := r.Context().RegistryStr()
	if silent, ok := errors.AsType[silence](err); ok {
		return lofn.Errorf(lofn.Unavailable, "image: %q cannot be read: %w", r.wrote, silent)
	}
	for _, known := range []struct {
		words string
		code  lofn.Code
		says  string
	}{
		{"unsupported MediaType", lofn.Invalid, "it is not an image that can be run"},
		{"error verifying", lofn.Unavailable, host + " sent something else than the digest says"},
		{"does not match requested digest", lofn.Unavailable, host + " sent something else than the digest says"},
		{"server gave HTTP response to HTTPS client", lofn.Invalid, host + " speaks HTTP without TLS, which is only accepted from this machine, from private addresses (such as 10.0.0.1) and from names that end in .local"},
		{"x509:", lofn.Invalid, "the certificate of " + host + " is not accepted: if its authority is your own, add that to this machine's (update-ca-certificates), or name it in SSL_CERT_FILE"},
	} {
		if strings.Contains(err.Error(), known.words) {
			return lofn.Errorf(known.code, "image: %q cannot be used: %s: %w", r.wrote, known.says, err)
		}
	}
	if r.builtIn {
		return lofn.Errorf(lofn.Internal, "image: %q cannot be read from the built-in registry: %w", r.wrote, err)
	}
	if onNetwork(err) {
		return lofn.Errorf(lofn.Unavailable, "image: %q cannot be read, for %s cannot be reached: check the name, and that the registry is up: %w", r.wrote, host, err)
	}
	return lofn.Errorf(lofn.Unavailable, "image: %q cannot be read from %s: %w", r.wrote, host, err)
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
