// Package app puts the platform together. It is the only package that knows
// which adapters are in use, and holds no logic besides: what it does is start
// the parts in order, connect them, and stop them in reverse.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"lofn"
	"lofn/internal/auth"
	"lofn/internal/auth/basic"
	"lofn/internal/certs"
	"lofn/internal/gateway"
	"lofn/internal/provider/process"
)

// Options is what a user can say about the platform.
type Options struct {
	// Listen and MetricsListen are addresses as net.Listen takes them for tcp.
	Listen, MetricsListen string
	// Data is the folder that keeps everything. It is created if missing.
	Data string
	// Provider names what runs functions; "process" is the only one so far.
	Provider string
	// NoAuth turns authentication of the control API off.
	NoAuth bool
	// TLSCert and TLSKey are files in PEM; with them the listener speaks TLS.
	// They are read again when they change.
	TLSCert, TLSKey string
	// Release and Commit say which lofn this is; neither is empty.
	Release, Commit string
	Log             *slog.Logger
	// Ready is called once when the platform serves.
	Ready func(Info)
}

// Info tells how to reach a platform that serves.
type Info struct {
	URL, MetricsURL string
	Data            string
	// User and Password are empty with NoAuth. FirstStart is set if the
	// password was generated just now.
	User, Password string
	FirstStart     bool
}

// Isolate gives an ordinary user the rights to keep functions apart, by running
// the whole program once more in a user namespace. If it did, the caller exits
// with the status; if not, it goes on. It comes before all else.
func Isolate() (status int, started bool) { return process.Isolate() }

// drainTime is how long calls in flight may take to end after Run was told to.
const drainTime = 30 * time.Second

// Run serves until ctx ends, then lets calls in flight finish, stops the
// functions and returns nil. An error means that it could not start, or that a
// listener broke.
func Run(ctx context.Context, o Options) error {
	if o.Provider != "process" {
		return lofn.Errorf(lofn.Invalid, "--provider: %q is unknown: the one there is so far is process", o.Provider)
	}
	certificate, err := certificate(o)
	if err != nil {
		return err
	}
	data, err := openData(o.Data)
	if err != nil {
		return err
	}
	defer data.Close()

	// The ports come first: of all that can be wrong, it is what most often is.
	listen, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return portError("--listen", o.Listen, err)
	}
	defer listen.Close()
	metricsListen, err := net.Listen("tcp", o.MetricsListen)
	if err != nil {
		return portError("--metrics-listen", o.MetricsListen, err)
	}
	defer metricsListen.Close()

	info, authenticator, err := credentials(o, data)
	if err != nil {
		return err
	}
	info.URL, info.MetricsURL = urlOf(listen, certificate), urlOf(metricsListen, nil)
	p, err := newPlatform(ctx, o, data, authenticator, info.URL)
	if err != nil {
		return err
	}
	p.certificate = certificate
	return p.serve(ctx, listen, metricsListen, func() {
		if o.Ready != nil {
			o.Ready(info)
		}
	})
}

func credentials(o Options, data *dataDir) (Info, auth.Authenticator, error) {
	info := Info{Data: data.path}
	if o.NoAuth {
		o.Log.Warn("authentication is off: whoever reaches the port controls the platform", "listen", o.Listen)
		return info, auth.None{}, nil
	}
	c, err := basic.Load(data.secrets())
	if err != nil {
		return info, nil, fmt.Errorf("credentials: %w", err)
	}
	info.User, info.Password, info.FirstStart = c.User, c.Password, c.Generated
	return info, c, nil
}

// portError says which flag to change when an address cannot be had.
func portError(flag, address string, err error) error {
	cause := errors.Unwrap(err) // without what package net says of the address
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s %s: %w: is another lofn running? choose another address with %s", flag, address, cause, flag)
	}
	return fmt.Errorf("%s %s: %w: choose an address of this machine and a port, such as 127.0.0.1:8080", flag, address, cause)
}

// certificate is that of the listener, nil if it does not speak TLS.
func certificate(o Options) (*certs.Files, error) {
	switch {
	case o.TLSCert == "" && o.TLSKey == "":
		return nil, nil
	case o.TLSKey == "":
		return nil, lofn.Errorf(lofn.Invalid, "--tls-key: give the file with the key of %s too", o.TLSCert)
	case o.TLSCert == "":
		return nil, lofn.Errorf(lofn.Invalid, "--tls-cert: give the file with the certificate of %s too", o.TLSKey)
	}
	return certs.Load(o.TLSCert, o.TLSKey, o.Log)
}

// urlOf is where clients on this machine reach the listener.
func urlOf(l net.Listener, certificate *certs.Files) string {
	address := l.Addr().(*net.TCPAddr)
	scheme, host := "http", address.IP.String()
	if address.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	if certificate != nil {
		scheme, host = "https", certificate.Host(host)
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(address.Port))
}

// serve runs the loops and servers until ctx ends or one of the servers fails.
func (p *platform) serve(ctx context.Context, listen, metricsListen net.Listener, ready func()) error {
	loops, stopLoops := context.WithCancel(context.Background())
	defer stopLoops()
	var running sync.WaitGroup
	running.Go(func() { p.reconciler.Run(loops) })
	running.Go(func() { p.syncSecrets(loops) })

	select {
	case <-p.reconciler.Synced():
	case <-ctx.Done():
	}
	// Streams that never end by themselves, such as followed logs, end when
	// the platform is told to stop.
	streams, stopStreams := context.WithCancel(context.Background())
	defer stopStreams()
	calls := p.calls()
	lane := gateway.NewLane(calls, p.pool)
	front := newServer(p.front(calls, streams), p.log)
	serveFront := func() error { return front.Serve(lane.Rest()) }
	if p.certificate != nil {
		// net/http speaks HTTP/2 only over TLS that is its own, so it has these
		// connections to itself; what the lane saves is little beside TLS.
		front.TLSConfig = p.certificate.Config()
		serveFront = func() error { return front.ServeTLS(listen, "", "") }
	}
	metrics := newServer(p.metricsHandler(), p.log)
	failed := make(chan error, 3)
	if p.certificate == nil {
		go func() { failed <- lane.Serve(listen) }()
	}
	go func() { failed <- serveFront() }()
	go func() { failed <- metrics.Serve(metricsListen) }()
	ready()
	running.Go(func() { p.collectImages(loops) })

	var err error
	select {
	case <-ctx.Done():
		p.log.Info("stopping: no new calls, those in flight may finish", "within", drainTime)
	case err = <-failed:
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	stopStreams()
	if shutdown := errors.Join(lane.Shutdown(drain), front.Shutdown(drain)); shutdown != nil {
		p.log.Warn("some calls did not finish in time and were cut off", "after", drainTime)
		_ = front.Close()
	}
	_ = metrics.Close()
	stopLoops()
	running.Wait()
	return errors.Join(err, p.close(drain))
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

// dataDir is the data folder, held by one platform at a time.
type dataDir struct {
	path string
	lock *os.File
}

// openData makes the folder if need be and locks it until Close, or until the
// process ends however it does.
func openData(path string) (*dataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	d := &dataDir{path: path}
	for _, dir := range []string{path, d.secrets()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("data folder: %w: choose one that can be written to with --data", err)
		}
	}
	d.lock, err = os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w: choose one that can be written to with --data", err)
	}
	if err := lockFile(d.lock); err != nil {
		d.lock.Close()
		return nil, fmt.Errorf("data folder %s is in use by another lofn: stop that one, or choose another folder with --data", path)
	}
	return d, nil
}

func (d *dataDir) Close() error            { return d.lock.Close() }
func (d *dataDir) join(name string) string { return filepath.Join(d.path, name) }
func (d *dataDir) secrets() string         { return d.join("secrets") }
