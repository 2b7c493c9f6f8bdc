package http1

import "bytes"

// Request is the head of a request. Its parts point into the buffer that was
// parsed. Headers is kept from one Parse to the next for its memory.
type Request struct {
	Method []byte
	// Target is a path that begins with '/', as it was sent, and maybe a query.
	Target []byte
	Host   []byte
	// ContentLength is 0 for a request without a body.
	ContentLength int64
	// KeepAlive is false if the client wants no further request to be read.
	KeepAlive bool
	Headers   []Header
}

// methods are those whose semantics need nothing special (RFC 9110, 9.3, and
// RFC 5789).
var methods = map[string]bool{
	"GET": true, "HEAD": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true, "OPTIONS": true,
}

// Parse reads the head at the start of buf and returns its length in bytes. It
// fails with ErrIncomplete or ErrUnusual.
func (r *Request) Parse(buf []byte) (n int, err error) {
	first, rest, err := line(buf)
	if err != nil {
		return 0, err
	}
	if err := r.start(first); err != nil {
		return 0, err
	}
	if r.Headers, rest, err = headers(r.Headers[:0], rest); err != nil {
		return 0, err
	}
	f, err := frame(r.Headers)
	if err != nil {
		return 0, err
	}
	if f.chunked {
		return 0, ErrUnusual
	}
	r.ContentLength, r.KeepAlive = max(f.length, 0), f.keepAlive
	if err := r.findHost(); err != nil {
		return 0, err
	}
	return len(buf) - len(rest), nil
}

func (r *Request) start(l []byte) error {
	method, l, _ := bytes.Cut(l, space)
	path, version, _ := bytes.Cut(l, space)
	if !methods[string(method)] || string(version) != "HTTP/1.1" {
		return ErrUnusual
	}
	if len(path) == 0 || path[0] != '/' || !all(path, target) || !escaped(path) {
		return ErrUnusual
	}
	r.Method, r.Target = method, path
	return nil
}

var space = []byte(" ")

// escaped reports whether every '%' begins a pair of hexadecimal digits.
func escaped(b []byte) bool {
	for {
		i := bytes.IndexByte(b, '%')
		if i < 0 {
			return true
		}
		if len(b) < i+3 {
			return false
		}
		_, high := unhex(b[i+1])
		_, low := unhex(b[i+2])
		if !high || !low {
			return false
		}
		b = b[i+3:]
	}
}

// findHost wants exactly one host (RFC 9112, 3.2).
func (r *Request) findHost() error {
	r.Host = nil
	for _, h := range r.Headers {
		if h.Kind != Host {
			continue
		}
		if r.Host != nil || !all(h.Value, host) {
			return ErrUnusual
		}
		r.Host = h.Value
	}
	if r.Host == nil {
		return ErrUnusual
	}
	return nil
}
