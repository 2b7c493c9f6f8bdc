package app

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
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
	"lofn/internal/promquery"
	"lofn/internal/provider/mux"
	"lofn/internal/provider/process"
	"lofn/internal/registry"
	"lofn/internal/scale"
	"lofn/internal/schedule"
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

	data   *dataDir
	before *predecessor    // nil but after an upgrade
	warden *process.Warden // nil if there is none
	// prometheus is nil if none is to be asked.
	prometheus *promquery.Client

	engine     *jetstream.Engine
	functions  *detachable[lofn.Function]
	namespaces *detachable[lofn.Namespace]
	secrets    *detachable[lofn.Secret]
	registry   *registry.Registry
	images     *registry.Images
	journal    *journal

	// life ends when the platform is closed.
	life context.Context
	end  context.CancelFunc

	gate       *gate
	streams    *streams
	collecting *work
	settling   *work

	metrics *telemetry.Metrics
	pool    *pool.Pool
	caller  *invoke.Caller
	gateway *gateway.Gateway
	async   async
	// handler serves what the main listener does, once there are doors.
	handler    http.Handler
	process    *process.Provider
	containers *lentContainers
	// provider is both of them.
	provider   *mux.Provider
	scaler     *scale.Scaler
	reconciler *deploy.Reconciler
}

// newPlatform starts the parts that hold something open; what it started it
// closes again if a later one fails.
func newPlatform(ctx context.Context, o Options, contain openContainers, data *dataDir, before *predecessor, prometheus *promquery.Client, a auth.Authenticator, url string) (*platform, error) {
	p := &platform{
		options: o, auth: a, log: o.Log, data: data, before: before, prometheus: prometheus,
		functions: newDetachable[lofn.Function](), namespaces: newDetachable[lofn.Namespace](), secrets: newDetachable[lofn.Secret](),
		journal: newJournal(), streams: newStreams(),
	}
	p.life, p.end = context.WithCancel(context.Background())
	p.async.queue = newLateQueue()
	p.collecting, p.settling = &work{run: p.collectImages}, &work{run: p.settle}
	if err := p.open(ctx, contain, url); err != nil {
		return nil, errors.Join(err, p.close(ctx))
	}
	return p, nil
}

func (p *platform) open(ctx context.Context, contain openContainers, url string) (err error) {
	// The logs first: a process before this one waits with what it has to say.
	if err = p.openLogs(); err != nil {
		return err
	}
	if p.before != nil {
		go p.before.listen(p.journal)
	}
	if err = p.openStores(ctx); err != nil {
		return err
	}
	if err = p.openImages(ctx, url); err != nil {
		return err
	}
	p.metrics = telemetry.New()
	// The pool pokes the scaler, which has the reconciler inform the pool.
	p.pool = pool.New(pool.Config{Poke: func(ref lofn.Ref) { p.scaler.Poke(ref) }, Waited: p.metrics.Waited})
	p.caller = invoke.NewCaller(p.pool)
	p.gateway = p.calls()
	if err = p.openRuntimes(ctx, contain, url); err != nil {
		return err
	}
	p.scaler = scale.New(scale.Config{
		Pool: loadOf{p}, Scale: p.scale, Usage: p.provider, Backlog: p.async.queue.backlog, Query: p.query(), Warm: warm, Before: p.had,
		Event: p.event, Woken: p.metrics.Woken, Log: p.log,
	})
	p.before.wake(p.scaler.Poke)
	p.reconciler = deploy.New(deploy.Config{
		Functions: p.functions, Provider: p.provider, Pool: observed{p.pool, p.metrics}, Scaler: p.scaler, Removed: p.removed, Log: p.log,
	})
	p.measure()
	return p.openAsync(ctx)
}

func (p *platform) openLogs() error {
	if err := p.journal.keep(logstore.Config{Dir: p.data.join("logs"), Log: p.log}); err != nil {
		return fmt.Errorf("logs: %w", err)
	}
	return nil
}

func (p *platform) openStores(ctx context.Context) (err error) {
	if p.engine == nil {
		p.engine, err = jetstream.Open(ctx, jetstream.Config{Dir: p.data.join("jetstream"), Log: p.log})
	} else {
		err = p.engine.TakeBack(ctx)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.engine.HandOver() // so that it can be tried again
		}
	}()
	if p.before != nil {
		// It has calls under way, which it settles.
		if err = p.engine.Lend(); err != nil {
			return err
		}
	}
	functions, err := jetstream.NewStore(ctx, p.engine, "functions", jetstream.JSON[lofn.Function]())
	if err != nil {
		return err
	}
	namespaces, err := jetstream.NewStore(ctx, p.engine, "namespaces", jetstream.JSON[lofn.Namespace]())
	if err != nil {
		return err
	}
	secrets, err := jetstream.NewSealedStore[lofn.Secret](ctx, p.engine, "secrets", p.data.join("secrets/key"))
	if err != nil {
		return err
	}
	// Read first: a full disk must not keep the platform from starting.
	ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: lofn.DefaultNamespace}
	if _, err = namespaces.Get(ctx, ref); lofn.CodeOf(err) == lofn.NotFound {
		_, err = namespaces.Put(ctx, ref, lofn.Namespace{Name: lofn.DefaultNamespace}, 0)
	}
	if err != nil {
		return err
	}
	p.functions.attach(functions)
	p.namespaces.attach(namespaces)
	p.secrets.attach(secrets)
	return nil
}

// close stops what was started, last first.
func (p *platform) close(ctx context.Context) error {
	p.drainAsync(ctx)
	errs := []error{p.closeRuntimes(ctx)}
	p.end()
	if p.caller != nil {
		p.caller.Close()
	}
	errs = append(errs, p.journal.Close())
	if p.prometheus != nil {
		p.prometheus.Close()
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
		Caller: p.caller, Functions: p.pool, Meter: p.metrics, Queue: p.async.queue,
		Release: p.options.Release, Log: p.log,
	})
}

// front is the handler of the main listener.
func (p *platform) front() http.Handler {
	control := api.New(api.Config{
		Functions: p.functions, Namespaces: p.namespaces, Secrets: p.secrets,
		Resolver: p.provider, Usage: p.provider, Logs: followUntil{p.journal, p.streams},
		Replicas: p.reconciler, Scaler: p.scaler, Invocations: p.metrics, Queue: p.async.queue,
		Auth: p.auth, Info: p.info(), Now: time.Now, Log: p.log,
	})
	mux := http.NewServeMux()
	mux.Handle("/system/", p.metrics.Requests("", control))
	mux.Handle("/healthz", control)
	mux.Handle("/v2/", auth.Require(p.auth, p.registry))
	mux.Handle("/ui/", ui.New(ui.Config{
		Functions: p.functions, Replicas: p.reconciler, Auth: p.auth, Release: p.options.Release, Log: p.log,
	}))
	mux.Handle("/{$}", http.RedirectHandler("/ui/", http.StatusTemporaryRedirect))
	async := p.metrics.Requests("", http.HandlerFunc(p.gateway.Async))
	p.gate = newGate(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A mux would tidy the path, which is the function's to interpret.
		switch {
		case p.gate.forwards():
			p.gate.ServeHTTP(w, r)
		case r.URL.Path == "/healthz":
			mux.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, gateway.Prefix):
			p.gateway.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, gateway.AsyncPrefix):
			async.ServeHTTP(w, r)
		default:
			p.gate.ServeHTTP(w, r)
		}
	})
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

// scale carries out what the scaler decided.
func (p *platform) scale(ref lofn.Ref, revision lofn.Revision, replicas int) {
	p.reconciler.Scale(ref, revision, replicas)
}

// query is what evaluates queries about load, nil if nobody does.
func (p *platform) query() func(context.Context, string) (float64, bool, error) {
	if p.prometheus == nil {
		return nil
	}
	return p.prometheus.Query
}

// event puts what happened to a function into its log.
func (p *platform) event(ref lofn.Ref, text string) {
	p.journal.Append(ref, "scaler", "lofn: "+text)
}

// warm reads when a function is kept warm, in this machine's time.
func warm(text string) (scale.Window, error) {
	return schedule.Parse(text, time.Local)
}

// removed clears what is kept of a function that is gone.
func (p *platform) removed(ref lofn.Ref) {
	if n := p.async.queue.backlog(ref); n > 0 {
		p.log.Warn("a function was removed that has asynchronous calls: when their turn comes they are dead, and can be redriven once it is deployed again", "function", ref, "calls", n)
	}
	p.metrics.Forget(ref)
	p.provider.Forget(ref)
	if err := p.journal.Remove(ref); err != nil {
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
	logs    lofn.LogStreamer
	streams *streams
}

func (f followUntil) Logs(ctx context.Context, q lofn.LogQuery) iter.Seq2[lofn.LogLine, error] {
	return func(yield func(lofn.LogLine, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(f.streams.now(), cancel)()
		f.logs.Logs(ctx, q)(yield)
	}
}
