package gateway

import (
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"lofn"
)

// wishedID is the ID that the client wants its call to have, "" if it does not
// care, or it cannot be.
func wishedID(h http.Header) string {
	if id := h.Get(lofn.HeaderCallID); lofn.ValidCallID(id) {
		return id
	}
	return ""
}

// submission is what the queue gets of the request, all but its body.
func (c *call) submission(r *http.Request) (s lofn.Submission, err error) {
	s.ID, s.Function, s.Accepted = c.id, c.ref, c.start
	s.Method, s.Path, s.Query = r.Method, c.path, r.URL.RawQuery
	s.Host, s.Remote = r.Host, r.RemoteAddr
	s.MaxBacklog = c.policy.Async.MaxBacklog
	if s.Header, err = c.kept(r); err != nil {
		return s, err
	}
	if s.Callback, err = callback(r.Header[lofn.HeaderCallback]); err != nil {
		return s, err
	}
	if s.Key, err = idempotencyKey(r.Header[lofn.HeaderIdempotencyKey]); err != nil {
		return s, err
	}
	if _, err = askedTimeout(r.Header.Get(lofn.HeaderTimeout)); err != nil {
		return s, err
	}
	return s, c.checkLength(r)
}

// kept is what stays of the request's header: all but what concerns its
// connection. What needs the client at the other end is refused.
func (c *call) kept(r *http.Request) (http.Header, error) {
	if lofn.IsGRPC(r.Header.Get("Content-Type")) {
		return nil, lofn.Errorf(lofn.Unimplemented, "calls in gRPC have somebody who waits: call %s%s instead", Prefix, c.ref)
	}
	if u := r.Header.Get("Upgrade"); u != "" && !offersH2C(r.Header) {
		return nil, lofn.Errorf(lofn.Invalid, "Upgrade: a connection in another protocol (%q) needs somebody who waits: call %s%s instead", u, Prefix, c.ref)
	}
	h := make(http.Header, len(r.Header)+1)
	maps.Copy(h, r.Header)
	dropHop(h)
	for _, name := range []string{"Proxy-Authorization", "Http2-Settings", "Expect", "Content-Length"} {
		delete(h, name)
	}
	if r.TLS != nil {
		setDefault(h, "X-Forwarded-Proto", "https")
	}
	return h, nil
}

// maxCallback bounds a URL that is kept with each call.
const maxCallback = 4096

// callback checks the URL that shall get the outcome.
func callback(values []string) (string, error) {
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return "", nil
	}
	text := values[0]
	u, err := url.Parse(text)
	wrong := ""
	switch {
	case len(values) > 1:
		wrong = "there may be one"
	case len(text) > maxCallback:
		text, wrong = text[:64]+"…", "it is longer than "+strconv.Itoa(maxCallback)+" bytes"
	case err != nil:
		wrong = "it is no URL"
	case u.Scheme != "http" && u.Scheme != "https":
		wrong = "it has to begin with http:// or https://"
	case u.User != nil:
		text, wrong = u.Redacted(), "it may not hold a user or password"
	case u.Hostname() == "" || !validPort(u.Port()):
		wrong = "it names no host and port that could be called"
	default:
		return text, nil
	}
	return "", lofn.Errorf(lofn.Invalid, "%s: %q: %s: use the whole URL that shall get the outcome, such as https://example.com/done", lofn.HeaderCallback, text, wrong)
}

// validPort takes none for valid, as url.Parse does with any digits.
func validPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return text == "" || err == nil && n > 0
}

// maxKey is how long an Idempotency-Key may be.
const maxKey = 255

// idempotencyKey returns the key without the quotes that
// draft-ietf-httpapi-idempotency-key-header has around it.
func idempotencyKey(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	if quoted, ok := strings.CutPrefix(key, `"`); ok {
		if key, ok = strings.CutSuffix(quoted, `"`); !ok || strings.ContainsAny(key, `"\`) {
			key = ""
		}
	}
	invisible := strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' })
	if len(values) > 1 || key == "" || len(key) > maxKey || invisible {
		return "", lofn.Errorf(lofn.Invalid, "%s: use one key of 1 to %d visible ASCII characters, plain or in double quotes, such as a UUID", lofn.HeaderIdempotencyKey, maxKey)
	}
	return key, nil
}
