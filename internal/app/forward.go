package app

import (
	"context"
	"crypto/tls"
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
func newForward(address string, overTLS bool, log *slog.Logger) http.Handler {
	one, two := forwarder(address, overTLS, false, log), forwarder(address, overTLS, true, log)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			two.ServeHTTP(w, r) // it may be streamed both ways
			return
		}
		one.ServeHTTP(w, r)
	})
}

func forwarder(address string, overTLS, http2 bool, log *slog.Logger) *httputil.ReverseProxy {
	protocols, scheme := new(http.Protocols), "http"
	protocols.SetHTTP1(!http2)
	if overTLS {
		scheme = "https"
		protocols.SetHTTP2(http2)
	} else {
		protocols.SetUnencryptedHTTP2(http2)
	}
	var dialer net.Dialer
	return &httputil.ReverseProxy{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "tcp", address)
			},
			DisableCompression: true, MaxResponseHeaderBytes: 1 << 20, Protocols: protocols,
			// It is the port that was this process's own, and its certificate is
			// for the name by which others know it.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		},
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = scheme, address, p.In.Host
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
