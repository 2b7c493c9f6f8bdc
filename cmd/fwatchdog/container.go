package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"lofn/internal/watchdog"
)

// container is the life of a function's container, from the first line of the
// log to the last.
type container struct {
	config  watchdog.Standalone
	env     []string
	log     *logger
	signals <-chan os.Signal

	child     *child // nil but in mode http
	watchdog  *watchdog.Watchdog
	metrics   watchdog.Metrics
	server    *watchdog.Server
	accepting atomic.Bool
	failed    chan error // why the server ended by itself
}

func (c *container) run() error {
	c.failed = make(chan error, 1)
	go reap()
	listener, err := net.Listen("tcp", net.JoinHostPort(c.config.Host, strconv.Itoa(c.config.Port)))
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := c.assemble(); err != nil {
		c.abandon()
		return err
	}
	c.announce()
	c.serveMetrics()
	go func() { c.failed <- c.server.Serve(listener) }()
	if err := c.open(); err != nil {
		c.abandon()
		return err
	}
	return c.untilEnd()
}

// assemble starts the child, if the mode has one, and puts the watchdog in
// front.
func (c *container) assemble() error {
	options := watchdog.Options{
		Start: startForCall, Env: c.env, Stderr: c.log.lines, Metrics: &c.metrics, Impatient: true,
		Log: slog.New(slog.NewTextHandler(c.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if err := c.guard(&options); err != nil {
		return err
	}
	var err error
	if c.config.Mode == watchdog.HTTP {
		if c.child, err = startChild(c.config, c.env, c.log); err != nil {
			return err
		}
		options.Dial = c.child.dial
	}
	if c.watchdog, err = watchdog.New(c.config.Config, options); err != nil {
		return err
	}
	rest := &http.Server{
		Handler:           &watchdog.Probes{Watchdog: c.watchdog, Healthy: c.healthy},
		ReadHeaderTimeout: c.config.ReadTimeout,
		MaxHeaderBytes:    1 << 20,
		ErrorLog:          slog.NewLogLogger(options.Log.Handler(), slog.LevelDebug),
	}
	c.server = watchdog.NewServer(c.watchdog, rest)
	return nil
}

// startForCall starts a process for a call, or ahead of one. The kernel ends it
// with the thread that started it: that can be any, for the runtime keeps its
// threads to the end of the watchdog.
func startForCall(cmd *exec.Cmd) error {
	endWithParent(cmd)
	return watchdog.StartGroup(cmd)
}

// issuerPatience bounds the questions to the issuer at the start.
const issuerPatience = 10 * time.Second

func (c *container) guard(options *watchdog.Options) error {
	if c.config.Guard == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), issuerPatience)
	defer cancel()
	g, err := watchdog.NewGuard(ctx, *c.config.Guard, &http.Client{Timeout: issuerPatience}, c.log.Printf)
	if err == nil {
		options.Guard = g.Admit
	}
	return err
}

func (c *container) announce() {
	log, config := c.log, c.config
	if config.Mode != watchdog.Classic {
		log.Printf("Watchdog mode: %s\tfprocess: %q", config.Mode, strings.Join(config.Process, " "))
	}
	log.Printf("Timeouts: read: %s write: %s hard: %s health: %s",
		config.ReadTimeout, config.WriteTimeout, config.ExecTimeout, config.HealthcheckInterval)
	if config.Guard != nil {
		log.Printf("JWT Auth: true")
	}
	log.Printf("Listening on port: %d", config.Port)
}

// serveMetrics serves metrics for as long as the program runs. The function is
// more important: it serves without, if another program has the port.
func (c *container) serveMetrics() {
	if c.config.MetricsPort == 0 {
		return
	}
	l, err := net.Listen("tcp", net.JoinHostPort(c.config.Host, strconv.Itoa(c.config.MetricsPort)))
	if err != nil {
		c.log.Printf("Warning: there are no metrics: %v", err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", &c.metrics)
	c.log.Printf("Metrics listening on port: %d", c.config.MetricsPort)
	server := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }()
}

func (c *container) healthy() bool { return c.accepting.Load() && lockPresent() }

// open tells the world that calls may come.
func (c *container) open() error {
	c.accepting.Store(true) // who sees the lock file may call
	if c.config.SuppressLock {
		c.log.Printf("Warning: \"suppress_lock\" is enabled. No automated health-checks will be in place for your function.")
	} else {
		c.log.Printf("Writing lock-file to: %s", lockPath())
		return writeLock()
	}
	return nil
}

// close is the opposite of open.
func (c *container) close() {
	c.accepting.Store(false)
	c.log.Printf("Removing lock-file : %s", lockPath())
	if err := os.Remove(lockPath()); err != nil {
		c.log.Printf("Unable to mark server as unhealthy: %v", err)
	}
}

func (c *container) untilEnd() error {
	select {
	case <-c.gone():
		c.close()
		c.child.lastLines()
		c.drain(brokenCalls)
		return c.child.err
	case err := <-c.failed:
		c.close()
		c.abandon()
		return fmt.Errorf("Error ListenAndServe: %w", err)
	case s := <-c.signals:
		c.leave(s)
		return nil
	}
}

// brokenCalls is how long calls may take that the function cannot answer any
// more, since its process has ended.
const brokenCalls = time.Second

// gone is closed when the child has ended; without one, never.
func (c *container) gone() <-chan struct{} {
	if c.child == nil {
		return nil
	}
	return c.child.exited
}

// leave ends the container as a signal asks: unhealthy at once, closed when
// those who send calls have had the time to notice, gone when the calls at work
// have ended. Another signal ends it at once.
func (c *container) leave(s os.Signal) {
	c.log.Printf("%s: no new connections in %s", signalName(s), c.config.HealthcheckInterval)
	c.close()
	if c.child != nil {
		c.child.signal(syscall.SIGTERM)
	}
	select {
	case <-time.After(c.config.HealthcheckInterval):
	case <-c.gone(): // nobody is left to answer calls
	case <-c.signals:
		c.abandon()
		return
	}
	c.drain(max(c.config.WriteTimeout, c.config.ExecTimeout))
}

func signalName(s os.Signal) string {
	if s == syscall.SIGTERM {
		return "SIGTERM"
	}
	return "SIGINT"
}

// drain closes the door, waits for the calls at work, and ends what is left.
func (c *container) drain(limit time.Duration) {
	c.log.Printf("No new connections allowed, draining: %d requests", c.metrics.InFlight())
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	go func() {
		select {
		case <-c.signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := c.server.Shutdown(ctx); err != nil {
		c.log.Printf("Error in Shutdown: %v", err)
	}
	// Upgraded connections are the watchdog's alone by now.
	if err := c.watchdog.Shutdown(ctx); err != nil && !errors.Is(err, ctx.Err()) {
		c.log.Printf("Error in Shutdown: %v", err)
	}
	c.log.Printf("Exiting. Active connections: %d", c.metrics.InFlight())
	c.endChild(lastSteps)
}

// lastSteps is how long a child that was asked to end may take when all calls
// have ended.
const lastSteps = time.Second

func (c *container) endChild(limit time.Duration) {
	if c.child == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c.child.end(ctx)
}

// abandon ends everything now.
func (c *container) abandon() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if c.server != nil {
		_ = c.server.Close()
	}
	if c.watchdog != nil {
		_ = c.watchdog.Shutdown(ctx)
	}
	c.endChild(0)
}
