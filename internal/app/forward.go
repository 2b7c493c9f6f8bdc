package app

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"

	"lofn"
)

// newForward returns a handler that passes requests on to the process that
// listens at the address now. It answers what a connection brings that was
// opened to this process: only the other one knows what has been deployed
// since.
func newForward(address string, log *slog.Logger) http.Handler {
	one, two := forwarder(address, false, log), forwarder(address, true, log)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			two.ServeHTTP(w, r) // it may be streamed both ways
			return
		}
		one.ServeHTTP(w, r)
	})
}

func forwarder(address string, http2 bool, log *slog.Logger) *httputil.ReverseProxy {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	var dialer net.Dialer
	return &httputil.ReverseProxy{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "tcp", address)
			},
			DisableCompression: true, MaxResponseHeaderBytes: 1 << 20, Protocols: protocols,
		},
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", address, p.In.Host
			for _, name := range []string{lofn.HeaderForwardedFor, lofn.HeaderForwardedHost, "X-Forwarded-Proto", "Forwarded"} {
				if values, ok := p.In.Header[name]; ok {
					p.Out.Header[name] = values
				}
			}
			if p.In.Header.Get(lofn.HeaderForwardedFor) == "" {
				// As the gateway does, for which this process is the client.
				p.Out.Header.Set(lofn.HeaderForwardedFor, p.In.RemoteAddr)
			}
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
