package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"lofn"
)

const (
	// defaultPatience is how long a registry may say nothing.
	defaultPatience = 30 * time.Second
	// tries is how often something is asked for that fails in passing, and how
	// often a body is continued without a byte more.
	tries = 4
	// firstPause is the pause after the first failure; each next is twice that.
	firstPause = time.Second
	// longestPause is the longest that a registry may ask for. Beyond, whoever
	// waits is told, and can decide for themselves.
	longestPause = 30 * time.Second
)

// patient is an http.RoundTripper that bears with registries for a while. What
// fails in passing it asks for again; a body that breaks off it continues where
// it was; and a registry that says nothing for too long it leaves, with an error
// that says so. How long all of it takes is not bounded: images are large.
type patient struct {
	inner    http.RoundTripper
	patience time.Duration
}

// network returns a transport with connections of its own.
func network(patience time.Duration) http.RoundTripper {
	t := remote.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: patience, KeepAlive: 30 * time.Second}).DialContext
	t.TLSHandshakeTimeout = patience
	// Bytes are counted, to continue after them.
	t.DisableCompression = true
	return t
}

// rest waits, unless the context ends.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// silence is the error about a registry that says nothing.
type silence struct {
	host  string
	after time.Duration
}

func (s silence) Error() string {
	return fmt.Sprintf("%s was asked and then sent nothing for %v", s.host, s.after)
}

// RoundTrip implements http.RoundTripper.
func (p *patient) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close() // each try has its own
	}
	for try := 1; ; try++ {
		answer, err := p.once(req)
		wait, again := p.again(req, try, answer, err)
		if !again {
			return refusal(answer, err)
		}
		if answer != nil {
			answer.Body.Close()
		}
		if err := rest(req.Context(), wait); err != nil {
			return nil, err
		}
	}
}

// again decides whether a request is worth another try, and after what time.
func (p *patient) again(req *http.Request, try int, answer *http.Response, err error) (time.Duration, bool) {
	if try >= tries || req.Context().Err() != nil {
		return 0, false
	}
	wait := firstPause << (try - 1)
	if err != nil {
		return wait, passing(err)
	}
	switch answer.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if asked := retryAfter(answer.Header); asked > 0 {
			return asked, asked <= longestPause
		}
		return wait, true
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return wait, true
	}
	return 0, false
}

// refusal makes an error of an answer that says when to come back, which would
// be lost otherwise.
func refusal(answer *http.Response, err error) (*http.Response, error) {
	if err != nil || answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode != http.StatusServiceUnavailable {
		return answer, err
	}
	asked := retryAfter(answer.Header)
	if asked == 0 {
		return answer, nil
	}
	cause := transport.CheckError(answer, http.StatusOK)
	answer.Body.Close()
	text := fmt.Sprintf("%s cannot serve it now and asks to come back in %v: %v", answer.Request.URL.Host, asked, cause)
	return nil, &lofn.Error{Code: lofn.Unavailable, Text: text, Cause: cause, RetryAfter: asked}
}

// passing reports whether an error of the network may be gone the next time.
// Nobody who listens, a name that does not exist and a certificate that does not
// fit are told at once; so is silence, which took long enough.
func passing(err error) bool {
	if _, silent := errors.AsType[silence](err); silent {
		return false
	}
	op, ok := errors.AsType[*net.OpError](err)
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || ok && op.Op != "dial"
}

// retryAfter reads the header in either of its forms; 0 if there is none.
func retryAfter(header http.Header) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at)).Round(time.Second)
	}
	return 0
}

// once sends the request once. The answer's body is watched.
func (p *patient) once(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	watch := time.AfterFunc(p.patience, func() { cancel(silence{req.URL.Host, p.patience}) })
	clone := req.Clone(ctx)
	var err error
	if req.GetBody != nil {
		clone.Body, err = req.GetBody()
	}
	var answer *http.Response
	if err == nil {
		answer, err = p.inner.RoundTrip(clone)
	}
	watch.Stop()
	if err != nil {
		defer cancel(nil)
		if silent, ok := errors.AsType[silence](context.Cause(ctx)); ok {
			err = silent
		}
		return nil, err
	}
	body := &watched{ReadCloser: answer.Body, ctx: ctx, cancel: cancel, watch: watch, patience: p.patience}
	answer.Body = body
	if req.Method == http.MethodGet && answer.StatusCode == http.StatusOK && req.Header.Get("Range") == "" {
		answer.Body = &lasting{p: p, req: req, body: body, size: answer.ContentLength}
	}
	return answer, nil
}
