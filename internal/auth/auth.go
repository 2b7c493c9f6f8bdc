// Package auth asks who makes a request to the control API. How somebody
// proves it is for its sub-packages; each is an Authenticator.
package auth

import (
	"context"
	"net/http"
)

// Identity is somebody who has proven who they are.
type Identity struct {
	// Subject is a name that is unique for its Method.
	Subject string
	// Method says how it was proven: "basic", or "none" where authentication
	// is turned off.
	Method string
}

// Authenticator finds out who makes a request.
type Authenticator interface {
	// Authenticate returns the identity, or false after it answered the
	// request with 401 and how to authenticate.
	Authenticate(w http.ResponseWriter, r *http.Request) (Identity, bool)
}

// Require lets only authenticated requests through to next, which finds the
// identity with From.
func Require(a Authenticator, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, ok := a.Authenticate(w, r); ok {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, id)))
		}
	})
}

type key struct{}

// From returns the identity behind a request that Require let through.
func From(ctx context.Context) Identity {
	id, _ := ctx.Value(key{}).(Identity)
	return id
}

// None trusts everybody.
type None struct{}

// Authenticate returns an anonymous identity.
func (None) Authenticate(http.ResponseWriter, *http.Request) (Identity, bool) {
	return Identity{Subject: "anonymous", Method: "none"}, true
}
