package watchdog

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"lofn"
)

// relay passes calls on to the child that listens at Config.Upstream.
func (w *Watchdog) relay() (http.Handler, error) {
	if w.config.Upstream == nil && w.options.Dial != nil {
		w.config.Upstream = &url.URL{Scheme: "http", Host: "function"}
	}
	if w.config.Upstream == nil {
		return nil, lofn.Errorf(lofn.Invalid, "upstream_url: is required in mode http: where the function listens, such as http://127.0.0.1:8082")
	}
	if w.options.Dial == nil {
		w.options.Dial = dialUpstream(w.config.Upstream)
	}
	transport := &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return w.dial(ctx) },
		DisableCompression:  true,
		MaxIdleConns:        0,
		MaxIdleConnsPerHost: 128,
		IdleConnTimeout:     idleUpstream,
	}
	w.release = func() error { transport.CloseIdleConnections(); return nil }
	proxy := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		Rewrite:       w.rewrite,
		ErrorHandler:  w.relayFailed,
		ErrorLog:      slog.NewLogLogger(w.options.Log.Handler(), slog.LevelDebug),
		ModifyResponse: func(resp *http.Response) error {
			started, _ := resp.Request.Context().Value(startedKey{}).(*recorder)
			resp.Header.Set(lofn.HeaderDurationSeconds, started.duration())
			if resp.StatusCode == http.StatusSwitchingProtocols {
				if !strings.EqualFold(resp.Header.Get("Upgrade"), resp.Request.Header.Get("Upgrade")) {
					return errors.New("it switched protocols, which nobody asked for") // the proxy would not close the connection
				}
				started.status = resp.StatusCode // the proxy does not write it through the recorder
			}
			return nil
		},
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.relayCall(proxy, rw.(*recorder), r) }), nil
}

// dial connects to the child.
func (w *Watchdog) dial(ctx context.Context) (net.Conn, error) { return w.options.Dial(ctx) }

func dialUpstream(u *url.URL) func(context.Context) (net.Conn, error) {
	address := net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80"))
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}
}

// idleUpstream is how long a connection to the function is kept without use.
// Some servers close theirs after two seconds, and a call that is on its way at
// that moment is lost.
const idleUpstream = time.Second

type startedKey struct{}

func (w *Watchdog) relayCall(proxy http.Handler, rec *recorder, r *http.Request) {
	ctx, cancel := w.within(r)
	defer cancel()
	body := rec.body
	r = r.WithContext(context.WithValue(ctx, startedKey{}, rec))
	if w.config.BufferBody && !endless(r) {
		in := &spool{dir: w.options.TempDir}
		defer in.Close()
		size, err := body.readTo(ctx, in)
		if err == nil {
			err = replaceBody(r, in, size)
		}
		if err != nil {
			w.fail(rec, err, http.StatusGatewayTimeout)
			return
		}
	} else if body != nil {
		body.openBothWays()
		// The transport does not return before it has read what it reads.
		defer context.AfterFunc(ctx, body.interrupt)()
		r.Body = body
	}
	proxy.ServeHTTP(rec, r)
}

func replaceBody(r *http.Request, in *spool, size int64) error {
	source, err := in.reader()
	if err != nil {
		return err
	}
	r.ContentLength, r.TransferEncoding = size, nil
	r.Body = http.NoBody
	if size > 0 {
		r.Body = io.NopCloser(source)
	}
	return nil
}

// endless reports whether the answer may go on for as long as both sides want:
// exec_timeout is not for those.
func endless(r *http.Request) bool {
	return acceptsStream(r.Header.Get("Accept")) || strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

func acceptsStream(accept string) bool {
	accept = strings.ToLower(accept)
	return strings.Contains(accept, "text/event-stream") || strings.Contains(accept, "application/x-ndjson")
}

// rewrite keeps the request as it came: host, query and forwarding headers are
// the gateway's word to the function.
func (w *Watchdog) rewrite(p *httputil.ProxyRequest) {
	p.SetURL(w.config.Upstream)
	p.Out.Host = p.In.Host
	p.Out.URL.RawQuery = p.In.URL.RawQuery
	for _, name := range []string{"Forwarded", lofn.HeaderForwardedFor, lofn.HeaderForwardedHost, "X-Forwarded-Proto"} {
		if values, ok := p.In.Header[name]; ok {
			p.Out.Header[name] = values
		}
	}
}

// relayFailed answers when the child did not.
func (w *Watchdog) relayFailed(rw http.ResponseWriter, r *http.Request, err error) {
	if cause := context.Cause(r.Context()); errors.Is(cause, context.DeadlineExceeded) || errors.Is(cause, errShutdown) {
		err = cause
	}
	status := w.unanswered(err)
	rec, _ := r.Context().Value(startedKey{}).(*recorder)
	rw.Header().Set(lofn.HeaderDurationSeconds, rec.duration())
	rw.Header().Set(lofn.HeaderInternal, component)
	rw.WriteHeader(status)
}

// unanswered notes why the child gave no answer, and returns the status for
// that: 504 if time ran out, 503 at the end of the watchdog, else 500.
func (w *Watchdog) unanswered(err error) int {
	w.lines.Printf("Upstream HTTP request error: %v", err)
	var limit *timeoutError
	switch {
	case errors.As(err, &limit):
		w.lines.Printf("Upstream HTTP killed due to %s: %s", limit.name, limit.limit)
		return http.StatusGatewayTimeout
	case errors.Is(err, errShutdown):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
