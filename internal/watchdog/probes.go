package watchdog

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Probes answers health and readiness checks in front of a watchdog, and
// leaves every other request to it.
type Probes struct {
	Watchdog *Watchdog
	// Healthy reports whether the replica takes calls: it is accepting them,
	// and its lock file is there.
	Healthy func() bool
}

// ServeHTTP answers the paths /_/health and, except in mode classic, /_/ready.
func (p *Probes) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/_/health":
		p.health(rw, r)
	case r.URL.Path == "/_/ready" && p.Watchdog.config.Mode != Classic:
		p.ready(rw, r)
	default:
		p.Watchdog.ServeHTTP(rw, r)
	}
}

func (p *Probes) health(rw http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet:
		rw.WriteHeader(http.StatusMethodNotAllowed)
	case !p.Healthy():
		rw.WriteHeader(http.StatusServiceUnavailable)
	default:
		_, _ = io.WriteString(rw, "OK")
	}
}

func (p *Probes) ready(rw http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet:
		rw.WriteHeader(http.StatusMethodNotAllowed)
	case !p.Healthy():
		rw.WriteHeader(http.StatusServiceUnavailable)
	case p.Watchdog.full():
		rw.WriteHeader(http.StatusTooManyRequests)
	case p.Watchdog.config.ReadyPath != "":
		p.Watchdog.ask(rw, r)
	}
}

func (w *Watchdog) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.config.MaxInflight > 0 && w.inflight >= w.config.MaxInflight
}

// ask has the function answer whether it is ready. It counts neither as a call
// nor against max_inflight.
func (w *Watchdog) ask(rw http.ResponseWriter, r *http.Request) {
	path, err := url.ParseRequestURI(w.config.ReadyPath)
	if err != nil {
		refuse(rw, http.StatusInternalServerError, component, fmt.Sprintf("ready_path: %v\n", err))
		return
	}
	r = r.Clone(r.Context())
	r.URL, r.RequestURI = path, w.config.ReadyPath
	r.Body, r.ContentLength, r.TransferEncoding = http.NoBody, 0, nil
	w.serve.ServeHTTP(w.record(rw, r), r)
}
