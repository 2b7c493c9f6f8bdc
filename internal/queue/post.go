package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"lofn"
)

// answer is what a callback was answered with.
type answer struct {
	status int
	header http.Header
}

// poster sends callbacks: over the network, or to the platform itself.
type poster struct {
	client *http.Client
	front  http.Handler
	time   time.Duration
	log    *slog.Logger
}

const (
	// dialTime is for a connection, and again for its encryption.
	dialTime = 10 * time.Second
	// drainSize is how much of an answer is read, for the sake of the connection.
	drainSize = 64 << 10
	// slowest is how fast a receiver has to be, in bytes a second.
	slowest = 1 << 20
	// maxRedirects is how many of them are followed.
	maxRedirects = 3
)

func newPoster(c Config) *poster {
	return &poster{
		front: c.Front, time: c.CallbackTime, log: c.Log,
		client: &http.Client{
			CheckRedirect: sameRequest,
			// No Proxy: the environment's is for what people do.
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: dialTime}).DialContext,
				TLSHandshakeTimeout: dialTime,
				MaxIdleConns:        c.Callbacks, MaxIdleConnsPerHost: 2 * callbackRoom,
				IdleConnTimeout: 90 * time.Second, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
				ForceAttemptHTTP2: true,
			},
		},
	}
}

func (p *poster) close() { p.client.CloseIdleConnections() }

// sameRequest follows redirects that have the same request sent elsewhere.
func sameRequest(next *http.Request, before []*http.Request) error {
	if next.Method != http.MethodPost {
		return http.ErrUseLastResponse
	}
	if len(before) > maxRedirects {
		return fmt.Errorf("it was redirected %d times", len(before))
	}
	return nil
}

// post sends a callback with a body of the given size.
func (p *poster) post(r *http.Request, size int64) (answer, error) {
	if isPlatform(r.URL) {
		return p.postInside(r)
	}
	allowed := p.time + time.Duration(size/slowest)*time.Second
	ctx, cancel := context.WithTimeoutCause(r.Context(), allowed, fmt.Errorf("there was no answer within %v", allowed))
	defer cancel()
	resp, err := p.client.Do(r.WithContext(ctx))
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return answer{}, lofn.Errorf(lofn.Unreachable, "the callback was not delivered: %w", cause(err))
	}
	_, _ = io.CopyN(io.Discard, resp.Body, drainSize)
	resp.Body.Close()
	return answer{resp.StatusCode, resp.Header}, nil
}

// cause is the error without the URL, which may have secrets in it.
func cause(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// isPlatform reports whether a URL means the platform itself, which functions
// know as the gateway.
func isPlatform(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	return host == "gateway" || host == "gateway.openfaas" || host == "gateway.openfaas.svc.cluster.local"
}

// postInside has the platform serve a callback. The time that it may take is
// the called function's to say.
func (p *poster) postInside(r *http.Request) (a answer, err error) {
	defer func() {
		switch x := recover(); x {
		case nil:
		case http.ErrAbortHandler:
			a, err = answer{}, lofn.Errorf(lofn.Unreachable, "the callback's function broke its answer off")
		default:
			p.log.Error("a callback made the platform panic", "path", r.URL.Path, "panic", x, "stack", string(debug.Stack()))
			a, err = answer{}, lofn.Errorf(lofn.Internal, "the platform panicked; its log has more")
		}
	}()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	// What a server makes of the request of a client.
	r.RemoteAddr, r.RequestURI = "127.0.0.1:0", r.URL.RequestURI()
	r.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	w := &deaf{header: make(http.Header)}
	p.front.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK) // unless there was another
	return answer{w.status, w.header}, nil
}

// deaf is a http.ResponseWriter for answers whose body nobody wants.
type deaf struct {
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (d *deaf) Header() http.Header { return d.header }

// WriteHeader implements http.ResponseWriter.
func (d *deaf) WriteHeader(status int) {
	if d.status == 0 && status >= http.StatusOK {
		d.status = status
	}
}

func (d *deaf) Write(p []byte) (int, error) {
	d.WriteHeader(http.StatusOK)
	return len(p), nil
}
