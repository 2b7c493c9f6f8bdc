package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"lofn"
)

// checkLength refuses a body that is announced to be larger than the function
// takes.
func (c *call) checkLength(r *http.Request) error {
	if most := c.policy.MaxBody; most > 0 && r.ContentLength > most {
		return c.tooLarge()
	}
	return nil
}

// limited bounds a body whose length was not announced: it is found out on its
// way, and its call is broken off.
func (c *call) limited(body io.ReadCloser) io.ReadCloser {
	most := c.policy.MaxBody
	if most == 0 || body == nil || body == http.NoBody {
		return body
	}
	// Without the ResponseWriter, which is not for whoever reads the body.
	return &limitedBody{ReadCloser: http.MaxBytesReader(nil, body, most), call: c}
}

// tooLarge is the error of a call with too large a body.
func (c *call) tooLarge() error {
	most := c.policy.MaxBody
	return &lofn.Error{
		Code:  lofn.Invalid,
		Text:  fmt.Sprintf("function %s takes bodies of up to %d bytes, as its %s says", c.ref, most, lofn.AnnotationMaxBody),
		Cause: &http.MaxBytesError{Limit: most},
	}
}

// limitedBody tells the call when it was too large.
type limitedBody struct {
	io.ReadCloser
	call *call
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		b.call.overrun.Store(true)
	}
	return n, err
}
