package app

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"time"

	"lofn"
	"lofn/internal/api"
	"lofn/internal/auth"
	"lofn/internal/certs"
	"lofn/internal/deploy"
	"lofn/internal/gateway"
	"lofn/internal/invoke"
	"lofn/internal/logstore"
	"lofn/internal/pool"
	"lofn/internal/provider/process"
	"lofn/internal/registry"
	"lofn/internal/store/jetstream"
	"lofn/internal/telemetry"
	"lofn/internal/ui"
)

// platform is every part, connected.
type platform struct {
	options Options
	auth    auth.Authenticator
	log     *slog.Logger
	// certificate is nil if the listener does not speak TLS.
	certificate *certs.Files

	engine     *jetstream.Engine
	functions  lofn.Store[lofn.Function]
	namespaces lofn.Store[lofn.Namespace]
	secrets    lofn.Store[lofn.Secret]
	registry   *registry.Registry
	images     *registry.Images
	logs       *logstore.Store

	metrics    *telemetry.Metrics
	pool       *pool.Pool
	caller     *invoke.Caller
	provider   *process.Provider
	reconciler *deploy.Reconciler
}

// newPlatform starts the parts that hold something open; what it started it
// closes again if a later one fails.
func newPlatform(ctx context.Context, o Options, data *dataDir, a auth.Authenticator, url string) (*platform, error) {
	p := &platform{options: o, auth: a, log: o.Log}
	if err := p.open(ctx, data, url); err != nil {
		return nil, errors.Join(err, p.close(ctx))
	}
	return p, nil
}

func (p *platform) open(ctx context.Context, data *dataDir, url string) (err error) {
	if err = p.openStores(ctx, data); err != nil {
		return err
	}
	if err = p.openImages(ctx, data, url); err != nil {
		return err
	}
	if p.logs, err = logstore.Open(logstore.Config{Dir: data.join("logs"), Log: p.log}); err != nil {
		return fmt.Errorf("logs: %w", err)
	}
	p.metrics = telemetry.New()
	// The pool wakes the reconciler, which informs the pool.
	p.pool = pool.New(func(ref lofn.Ref) { p.reconciler.Wake(ref) })
	p.caller = invoke.NewCaller(p.pool)
	p.provider, err = process.New(process.Config{
		RunDir:     data.join("run"),
		Images:     p.images,
		Secrets:    secretValues{p.secrets},
		Logs:       p.logs,
		Drain:      p.pool.Drain,
		GatewayURL: url,
		Hide:       []string{data.path},
		Log:        p.log,
	})
	if err != nil {
		return fmt.Errorf("process provider: %w", err)
	}
	p.reconciler = deploy.New(deploy.Config{
		Functions: p.functions, Provider: p.provider, Pool: p.pool, Removed: p.removed, Log: p.log,
	})
	p.metrics.CountReplicas(func(yield func(lofn.Ref, int, int)) {
		for _, c := range p.reconciler.Counts() {
			yield(c.Function, c.Wanted, c.Ready)
		}
	})
	p.metrics.CountQueues(p.pool.Queues)
	return nil
}

func (p *platform) openStores(ctx context.Context, data *dataDir) (err error) {
	p.engine, err = jetstream.Open(ctx, jetstream.Config{Dir: data.join("jetstream"), Log: p.log})
	if err != nil {
		return err
	}
	if p.functions, err = jetstream.NewStore(ctx, p.engine, "functions", jetstream.JSON[lofn.Function]()); err != nil {
		return err
	}
	if p.namespaces, err = jetstream.NewStore(ctx, p.engine, "namespaces", jetstream.JSON[lofn.Namespace]()); err != nil {
		return err
	}
	p.secrets, err = jetstream.NewSealedStore[lofn.Secret](ctx, p.engine, "secrets", data.join("secrets/key"))
	if err != nil {
		return err
	}
	// Read first: a full disk must not keep the platform from starting.
	ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: lofn.DefaultNamespace}
	if _, err = p.namespaces.Get(ctx, ref); lofn.CodeOf(err) == lofn.NotFound {
		_, err = p.namespaces.Put(ctx, ref, lofn.Namespace{Name: lofn.DefaultNamespace}, 0)
	}
	return err
}

// openImages also clears what is unpacked of images that no function uses any
// more: before any function runs is the moment when that is certain.
func (p *platform) openImages(ctx context.Context, data *dataDir, url string) (err error) {
	p.registry, err = registry.New(registry.Config{Dir: data.join("registry"), Log: p.log})
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	p.images, err = registry.NewImages(registry.ImagesConfig{
		Registry: p.registry, Hosts: hostsOf(url), Dir: data.join("images"), Log: p.log,
	})
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	used, err := p.usedImages(ctx)
	if err != nil {
		return err
	}
	return p.images.Prune(ctx, used)
}

// usedImages tells which images the functions have, by digest.
func (p *platform) usedImages(ctx context.Context) (func(digest string) bool, error) {
	functions, err := p.functions.List(ctx, "")
	if err != nil {
		return nil, err
	}
	used := make(map[string]bool)
	for _, fn := range functions {
		used[fn.Value.Digest] = true
	}
	return func(digest string) bool { return used[digest] }, nil
}

// collectInterval is how often the registry is cleared of unused images.
const collectInterval = time.Hour

// collectImages clears the registry of what no tag names and no function uses,
// at once and then every hour until ctx ends.
func (p *platform) collectImages(ctx context.Context) {
	ticker := time.NewTicker(collectInterval)
	defer ticker.Stop()
	for {
		used, err := p.usedImages(ctx)
		if err == nil {
			err = p.registry.Collect(ctx, used)
		}
		if err != nil && ctx.Err() == nil {
			p.log.Warn("unused images stay on the disk, trying again later", "in", collectInterval, "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// hostsOf are the hosts by which images are pushed to the platform at the URL.
func hostsOf(url string) []string {
	scheme, host, _ := strings.Cut(url, "://")
	_, port, _ := net.SplitHostPort(host)
	hosts := []string{host}
	if strings.HasPrefix(host, "127.0.0.1:") {
		hosts = append(hosts, "localhost:"+port)
	}
	if name, standard := strings.CutSuffix(host, ":443"); standard && scheme == "https" {
		hosts = append(hosts, name)
	}
	return hosts
}

// close stops what was started, last first.
func (p *platform) close(ctx context.Context) error {
	var errs []error
	if p.provider != nil {
		errs = append(errs, p.provider.Close(ctx))
	}
	if p.caller != nil {
		p.caller.Close()
	}
	if p.logs != nil {
		errs = append(errs, p.logs.Close())
	}
	if p.registry != nil {
		errs = append(errs, p.registry.Close())
	}
	if p.engine != nil {
		p.engine.Close()
	}
	return errors.Join(errs...)
}

// calls is the door to the functions.
func (p *platform) calls() *gateway.Gateway {
	return gateway.New(gateway.Config{
		Caller: p.caller, Functions: p.pool, Meter: p.metrics, Release: p.options.Release, Log: p.log,
	})
}

// front is the handler of the main listener. Its requests end with streams
// where they would not end by themselves.
func (p *platform) front(calls *gateway.Gateway, streams context.Context) http.Handler {
	control := api.New(api.Config{
		Functions: p.functions, Namespaces: p.namespaces, Secrets: p.secrets,
		Resolver: p.provider, Usage: p.provider, Logs: followUntil{p.logs, streams},
		Replicas: p.reconciler, Invocations: p.metrics,
		Auth: p.auth, Info: p.info(), Now: time.Now, Log: p.log,
	})
	mux := http.NewServeMux()
	mux.Handle("/system/", control)
	mux.Handle("/healthz", control)
	mux.Handle("/v2/", auth.Require(p.auth, p.registry))
	mux.Handle("/ui/", ui.New(ui.Config{
		Functions: p.functions, Replicas: p.reconciler, Auth: p.auth, Release: p.options.Release, Log: p.log,
	}))
	mux.Handle("/{$}", http.RedirectHandler("/ui/", http.StatusTemporaryRedirect))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A mux would tidy the path, which is the function's to interpret.
		switch {
		case strings.HasPrefix(r.URL.Path, gateway.Prefix):
			calls.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, gateway.AsyncPrefix):
			calls.Async(w, r)
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

func (p *platform) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", p.metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "OK") })
	return mux
}

func (p *platform) info() lofn.Info {
	version := lofn.VersionInfo{Release: p.options.Release, SHA: p.options.Commit}
	return lofn.Info{
		Provider: lofn.ProviderInfo{Name: "lofn", Orchestration: p.options.Provider, Version: version},
		Version:  version,
		Arch:     machine(runtime.GOARCH),
	}
}

// machine is the architecture as uname has it, which is what clients know.
func machine(goarch string) string {
	switch goarch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	default:
		return goarch
	}
}

// syncSecrets tells the provider of changed secrets until ctx ends.
func (p *platform) syncSecrets(ctx context.Context) {
	for ctx.Err() == nil {
		for change, err := range p.secrets.Watch(ctx) {
			if err != nil {
				p.log.Error("lost sight of the stored secrets, trying again", "error", err)
				break
			}
			if change.Synced || change.Deleted {
				continue
			}
			if err := p.provider.SyncSecret(ctx, change.Ref.Namespace, change.Ref.Name); err != nil && ctx.Err() == nil {
				p.log.Error("running functions did not get a changed secret: redeploy them", "secret", change.Ref.Name, "namespace", change.Ref.Namespace, "error", err)
			}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// removed clears what is kept of a function that is gone.
func (p *platform) removed(ref lofn.Ref) {
	p.metrics.Forget(ref)
	if err := p.logs.Remove(ref); err != nil {
		p.log.Warn("the log of a removed function stays on the disk", "function", ref, "error", err)
	}
}

// secretValues is the secrets' store as the provider wants it.
type secretValues struct{ store lofn.Store[lofn.Secret] }

func (s secretValues) Secret(ctx context.Context, namespace, name string) ([]byte, error) {
	record, err := s.store.Get(ctx, lofn.Ref{Namespace: namespace, Name: name})
	return record.Value.Value, err
}

// followUntil ends log streams when the platform stops.
type followUntil struct {
	logs lofn.LogStreamer
	end  context.Context
}

func (f followUntil) Logs(ctx context.Context, q lofn.LogQuery) iter.Seq2[lofn.LogLine, error] {
	return func(yield func(lofn.LogLine, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(f.end, cancel)()
		f.logs.Logs(ctx, q)(yield)
	}
}
