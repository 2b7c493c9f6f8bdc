package gateway

import (
	"bytes"
	"net/http"
	"strings"

	"lofn/internal/http1"
)

// printable is what the name and version of a protocol, or a list of them, is
// made of (RFC 9110, 7.8).
const printable = "!#$%&'*+-.^_`|~/, 0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// asksForStream reports whether the client wants something without an end: a
// connection for another protocol, or events as they come.
func asksForStream(h http.Header) bool {
	return h.Get("Upgrade") != "" || acceptsStream([]byte(h.Get("Accept")))
}

func acceptsStream(accept []byte) bool {
	if len(accept) < len("text/event-stream") {
		return false
	}
	accept = bytes.ToLower(accept)
	return bytes.Contains(accept, []byte("text/event-stream")) || bytes.Contains(accept, []byte("application/x-ndjson"))
}

// accepted is the value of the first Accept header.
func accepted(headers []http1.Header) []byte {
	for _, h := range headers {
		if h.Kind == http1.Other && len(h.Name) == len("accept") && strings.EqualFold(string(h.Name), "accept") {
			return h.Value
		}
	}
	return nil
}

// dropH2C takes out an offer to go on in HTTP/2 (RFC 7540, 3.2, which RFC 9113
// took back). A function that accepts it would be given the connection, with
// calls on it that nobody looks at.
func dropH2C(h http.Header) {
	if offersH2C(h) {
		h.Del("Upgrade")
		h.Del("Connection")
	}
	h.Del("Http2-Settings")
}

func offersH2C(h http.Header) bool {
	for offer := range strings.SplitSeq(h.Get("Upgrade"), ",") {
		if strings.EqualFold(strings.TrimSpace(offer), "h2c") {
			return true
		}
	}
	return false
}
