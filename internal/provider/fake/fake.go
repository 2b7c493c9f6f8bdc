// Package fake is a lofn.Provider whose replicas are HTTP servers in this
// process, on Unix sockets. It is the smallest provider that does all that
// lofn.Provider promises, and what other packages test against.
package fake

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"lofn"
	"lofn/internal/provider/fleet"
)

// EnvAnswer is the variable in a function's environment that says with what
// its replicas answer where Config.Handler is nil.
const EnvAnswer = "answer"

// Config is what a Provider works with. The zero value is useful.
type Config struct {
	// Dir is where the replicas' sockets are; it must be short enough for the
	// path of a socket. Empty means a folder of its own, removed by Close.
	Dir string
	// Handler returns what serves the calls of a replica. Nil answers 200 with
	// the function's variable EnvAnswer, or else its name.
	Handler func(fn lofn.Function, id string) http.Handler
	// Drain is as in fleet.Config.
	Drain func(ctx context.Context, r lofn.Replica) error
	Log   *slog.Logger
}

// Provider implements lofn.Provider and lofn.Resolver. Its methods are safe
// for concurrent use.
type Provider struct {
	*fleet.Fleet
	config Config
	ownDir bool

	mu        sync.Mutex
	failures  map[lofn.Ref]failure
	held      map[lofn.Ref]chan struct{}
	instances map[string]*instance
}

// failure is why the replicas of a function do not start: those of one
// generation, or of any if it is 0.
type failure struct {
	generation int64
	reason     string
}

// New returns a provider on which nothing runs.
func New(c Config) (*Provider, error) {
	p := &Provider{
		config:    c,
		failures:  make(map[lofn.Ref]failure),
		held:      make(map[lofn.Ref]chan struct{}),
		instances: make(map[string]*instance),
	}
	if c.Dir == "" {
		dir, err := os.MkdirTemp("", "fake")
		if err != nil {
			return nil, err
		}
		p.config.Dir, p.ownDir = dir, true
	}
	if c.Handler == nil {
		p.config.Handler = answer
	}
	p.Fleet = fleet.New(fleet.Config{Starter: starter{p}, Drain: c.Drain, Log: c.Log})
	return p, nil
}

// Close stops all replicas, letting them finish their calls until ctx ends.
func (p *Provider) Close(ctx context.Context) error {
	err := p.Fleet.Close(ctx)
	if p.ownDir {
		err = errors.Join(err, os.RemoveAll(p.config.Dir))
	}
	return err
}

// Resolve implements lofn.Resolver: any image exists.
func (p *Provider) Resolve(_ context.Context, fn lofn.Function) (lofn.Resolution, error) {
	return lofn.Resolution{Digest: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(fn.Spec.Image)))}, nil
}

// Fail makes every start of a replica of the function fail with the reason
// from now on; with a generation other than 0, only those of this generation.
// An empty reason lets starts succeed again.
func (p *Provider) Fail(ref lofn.Ref, generation int64, reason string) {
	p.mu.Lock()
	if reason == "" {
		delete(p.failures, ref)
	} else {
		p.failures[ref] = failure{generation, reason}
	}
	p.mu.Unlock()
	p.Retry(func(fn lofn.Function) bool { return fn.Ref == ref })
}

// Hold keeps replicas of the function that start from now on from getting
// ready, until the function that it returns is called.
func (p *Provider) Hold(ref lofn.Ref) (release func()) {
	gate := make(chan struct{})
	p.mu.Lock()
	p.held[ref] = gate
	p.mu.Unlock()
	return sync.OnceFunc(func() {
		p.mu.Lock()
		if p.held[ref] == gate {
			delete(p.held, ref)
		}
		p.mu.Unlock()
		close(gate)
	})
}

// Crash makes a ready replica end by itself with the reason. It reports
// whether there was such a replica.
func (p *Provider) Crash(id, reason string) bool {
	p.mu.Lock()
	i := p.instances[id]
	p.mu.Unlock()
	if i == nil {
		return false
	}
	i.end(errors.New(reason))
	return true
}

// Running returns the IDs of the replicas that serve, sorted.
func (p *Provider) Running() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.instances))
}

func answer(fn lofn.Function, _ string) http.Handler {
	text, ok := fn.Spec.Env[EnvAnswer]
	if !ok {
		text = fn.Name
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, text)
	})
}

// starter keeps Start out of the methods of Provider.
type starter struct{ *Provider }

// Start implements fleet.Starter.
func (s starter) Start(ctx context.Context, fn lofn.Function, id string, _ func(string)) (fleet.Instance, error) {
	began := time.Now()
	if err := s.admit(ctx, fn); err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", filepath.Join(s.config.Dir, id))
	if err != nil {
		return nil, err
	}
	i := &instance{
		path:   listener.Addr().String(),
		server: &http.Server{Handler: s.config.Handler(fn, id)},
		done:   make(chan struct{}),
		forget: func() {
			s.mu.Lock()
			delete(s.instances, id)
			s.mu.Unlock()
		},
	}
	i.startup.Listen = time.Since(began)
	s.mu.Lock()
	s.instances[id] = i
	s.mu.Unlock()
	go func() { _ = i.server.Serve(listener) }()
	return i, nil
}

// admit waits while the function is held, and returns why it cannot start.
func (s starter) admit(ctx context.Context, fn lofn.Function) error {
	s.mu.Lock()
	gate, fails := s.held[fn.Ref], s.failures[fn.Ref]
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fails.reason != "" && (fails.generation == 0 || fails.generation == fn.Generation) {
		return errors.New(fails.reason)
	}
	return nil
}

// instance is a replica that serves.
type instance struct {
	path    string
	server  *http.Server
	startup lofn.Startup
	forget  func()
	once    sync.Once
	done    chan struct{}
	err     error
}

func (i *instance) Address() (network, address string) { return "unix", i.path }
func (i *instance) Done() <-chan struct{}              { return i.done }
func (i *instance) Err() error                         { return i.err }
func (i *instance) Startup() lofn.Startup              { return i.startup }

// Stop implements fleet.Instance.
func (i *instance) Stop(ctx context.Context) {
	_ = i.server.Shutdown(ctx)
	i.end(nil)
}

func (i *instance) end(err error) {
	i.once.Do(func() {
		_ = i.server.Close()
		i.forget()
		i.err = err
		close(i.done)
	})
}
