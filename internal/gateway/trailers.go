package gateway

import (
	"io"
	"net/http"
	"slices"
)

// passTrailers has the request's trailers follow its body. The proxy would
// announce them and never send them.
func passTrailers(in, out *http.Request) {
	if len(in.Trailer) == 0 || out.Body == nil {
		return
	}
	out.Trailer = make(http.Header, len(in.Trailer))
	for name := range in.Trailer {
		if !slices.Contains(neverTrailers, name) {
			out.Trailer[name] = nil
		}
	}
	out.Body = &trailedBody{out.Body, in.Trailer, out.Trailer}
}

// neverTrailers are fields that a server might act on if it took trailers for
// headers (RFC 9110, 6.5.1). net/http refuses those that frame the body.
var neverTrailers = []string{
	"Authorization", "Connection", "Content-Encoding", "Content-Type", "Cookie", "Expect", "Forwarded", "Host", "Keep-Alive",
	"Proxy-Authorization", "Proxy-Connection", "Range", "Te", "Upgrade",
	"X-Call-Id", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Start-Time", "X-Timeout",
}

// trailedBody fills in the trailers when the body has ended. Only those that
// were announced pass.
type trailedBody struct {
	io.ReadCloser
	in, out http.Header
}

func (b *trailedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		for name := range b.out {
			b.out[name] = b.in[name]
		}
	}
	return n, err
}
