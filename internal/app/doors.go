package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"lofn/internal/gateway"
)

// doors are the servers, and what they listen on.
type doors struct {
	listen, metricsListen *net.TCPListener
	// innerListen is for containers, and nil if there are none or they come by
	// the other.
	innerListen    *net.TCPListener
	lanes          []*gateway.Lane
	front, metrics *http.Server
	// failed gets what ends a server.
	failed chan error
	// leaving makes every answer the last on its connection.
	leaving atomic.Bool
	// connections counts those of the front.
	connections atomic.Int64
}

// openDoors starts the servers of the platform.
func openDoors(p *platform, ports *ports) *doors {
	p.handler = p.front()
	d := &doors{
		listen: ports.calls, metricsListen: ports.metrics, innerListen: ports.inner,
		failed: make(chan error, 5),
	}
	d.front = newServer(d.lastAnswers(p.handler), p.log)
	d.front.ConnState = d.count
	d.metrics = newServer(p.metricsHandler(), p.log)
	if p.certificate != nil {
		// net/http speaks HTTP/2 only over TLS that is its own, so it has these
		// connections to itself; what the lane saves is little beside TLS.
		d.front.TLSConfig = p.certificate.Config()
		go func() { d.failed <- d.front.ServeTLS(d.listen, "", "") }()
	} else {
		d.open(p, d.listen)
	}
	if d.innerListen != nil {
		d.open(p, d.innerListen) // it does not leave the machine
	}
	go func() { d.failed <- d.metrics.Serve(d.metricsListen) }()
	return d
}

// open serves without TLS what a listener accepts.
func (d *doors) open(p *platform, listener net.Listener) {
	lane := gateway.NewLane(p.gateway, p.pool)
	d.lanes = append(d.lanes, lane)
	go func() { d.failed <- lane.Serve(listener) }()
	go func() { d.failed <- d.front.Serve(lane.Rest()) }()
}

// newServer has no read or write timeout, since calls and streams may last for
// hours; what bounds a call is its own deadline.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    1 << 20,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Protocols:         new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true) // over TLS
	server.Protocols.SetUnencryptedHTTP2(true)
	return server
}

func (d *doors) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		d.connections.Add(1)
	case http.StateClosed, http.StateHijacked:
		d.connections.Add(-1)
	}
}

// lastAnswers tells clients, once the doors are closing, to send their next
// request on another connection: closed without a word, it might be closed
// under a request that is on its way.
func (d *doors) lastAnswers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			w = &lastAnswer{ResponseWriter: w, leaving: &d.leaving}
		}
		next.ServeHTTP(w, r)
	})
}

// lastAnswer decides when the answer begins: the call may have begun long ago.
type lastAnswer struct {
	http.ResponseWriter
	leaving *atomic.Bool
	wrote   bool
}

func (w *lastAnswer) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.begin()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *lastAnswer) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(p)
}

// Flush implements http.Flusher, which begins the answer too.
func (w *lastAnswer) Flush() {
	w.begin()
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *lastAnswer) begin() {
	if !w.wrote && w.leaving.Load() {
		// With HTTP/2, net/http makes a GOAWAY of it.
		w.Header().Set("Connection", "close")
	}
	w.wrote = true
}

// Unwrap lets http.ResponseController reach the rest.
func (w *lastAnswer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// close takes no new connections, and waits for the calls under way until ctx
// ends. Connections without a call have the grace to send one more.
func (d *doors) close(ctx context.Context, grace time.Duration) error {
	_ = d.listen.Close()
	if d.innerListen != nil {
		_ = d.innerListen.Close()
	}
	d.leaving.Store(true)
	for _, lane := range d.lanes {
		lane.Drain()
	}
	d.await(ctx, grace)
	var errs []error
	for _, lane := range d.lanes {
		errs = append(errs, lane.Shutdown(ctx))
	}
	err := errors.Join(append(errs, d.front.Shutdown(ctx))...)
	if err != nil {
		_ = d.front.Close()
	}
	return err
}

// await returns when no connection is left, or the grace is over.
func (d *doors) await(ctx context.Context, grace time.Duration) {
	over := time.NewTimer(grace)
	defer over.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if d.connections.Load() == 0 {
				return
			}
		case <-over.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
