package containerd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"lofn"
	"lofn/internal/provider/containerd/cgroup"
	"lofn/internal/provider/containerd/content"
	"lofn/internal/provider/containerd/network"
	"lofn/internal/provider/fleet"
)

// Provider implements lofn.Provider, lofn.Resolver, lofn.UsageReporter and
// lofn.SecretSyncer. Its methods are safe for concurrent use.
type Provider struct {
	*fleet.Fleet
	config   Config
	daemon   *daemon
	images   *content.Store
	networks *network.Networks
	groups   *cgroup.Hierarchy
	meter    *fleet.Meter
	buffers  *fleet.Buffers
	probe    *http.Client
	spares   *spares
	secrets  *fleet.Secrets

	// life ends when the Provider lets go of the containers.
	life context.Context
	end  context.CancelFunc
	// background is what runs beside, until life ends.
	background sync.WaitGroup
	settled    sync.Once

	mu         sync.Mutex
	containers map[string]*container
	// survivors are in service, and no function has claimed them yet.
	survivors map[lofn.Ref][]*container
}

// New returns a provider that knows the containers which an earlier one with
// the same RunDir left in service: they are adopted when their function is
// ensured. Errors say what is missing on the machine.
func New(ctx context.Context, c Config) (*Provider, error) {
	p := &Provider{
		config: c.withDefaults(), meter: fleet.NewMeter(), buffers: fleet.NewBuffers(), secrets: fleet.NewSecrets(c.Secrets),
		probe:      &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		containers: make(map[string]*container), survivors: make(map[lofn.Ref][]*container),
	}
	p.life, p.end = context.WithCancel(context.Background())
	p.spares = newSpares(p)
	var err error
	if p.daemon, err = dial(ctx, c.Socket, c.Namespace); err != nil {
		return nil, err
	}
	p.Fleet = fleet.New(fleet.Config{
		Starter: starter{p}, Drain: p.drain, Name: p.spares.name, Forgo: p.spares.forgo, Survivors: p.claim,
		MaxStarts: c.MaxStarts, Started: c.Started, Log: p.config.Log,
		Failed: func(fn lofn.Ref, id, reason string) { c.Logs.Append(fn, id, "lofn: "+reason) },
	})
	if err := p.open(ctx); err != nil {
		return nil, errors.Join(err, p.release(ctx))
	}
	p.background.Go(p.watchMemory)
	return p, nil
}

// open prepares what containers need around them, and looks for those that are
// there.
func (p *Provider) open(ctx context.Context) (err error) {
	// First what is most likely to lack something, while nothing is half-made.
	if p.networks, err = network.New(ctx, p.config.network()); err != nil {
		return err
	}
	for _, dir := range []string{p.config.RunDir, p.config.Dir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("containers: %w", err)
		}
	}
	if p.groups, err = cgroup.Open(p.config.Cgroup); err != nil {
		return err
	}
	text, err := p.networks.ResolvConf()
	if err == nil {
		err = os.WriteFile(p.file("resolv.conf"), text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("containers: resolv.conf: %w", err)
	}
	p.images = content.New(content.Config{Client: p.daemon.client, Source: p.config.Images, Snapshotter: snapshotter, Platform: p.config.Platform, Log: p.config.Log})
	return p.adopt(ctx)
}

// file is one of the provider's own, gone after a reboot; dirOf is the folder of
// one container's.
func (p *Provider) file(name string) string { return filepath.Join(p.config.RunDir, name) }
func (p *Provider) dirOf(id string) string  { return p.file(filepath.Join(containersName, id)) }

const containersName = "containers"

// Gateway is the machine's address for containers: what listens there on port
// 8080 is what they reach as gateway.openfaas:8080.
func (p *Provider) Gateway() netip.Addr { return p.networks.Gateway() }

// Ensure implements lofn.Provider.
func (p *Provider) Ensure(ctx context.Context, fn lofn.Function) error {
	if err := p.Fleet.Ensure(ctx, fn); err != nil {
		return err
	}
	p.spares.want(fn)
	return nil
}

// Remove implements lofn.Provider.
func (p *Provider) Remove(ctx context.Context, ref lofn.Ref) error {
	if err := p.Fleet.Remove(ctx, ref); err != nil {
		return err
	}
	p.spares.drop(ref)
	p.dismiss(p.claimed(ref))
	return nil
}

// Pause has the provider make, start and stop no containers until Resume, and
// read nothing of what they write: another one is about to adopt them.
func (p *Provider) Pause() {
	p.Fleet.Pause()
	p.spares.pause()
	for _, c := range p.all() {
		c.mute()
	}
}

// Resume goes on after a Pause with what is there then.
func (p *Provider) Resume() {
	for _, c := range p.all() {
		if err := c.listen(); err != nil {
			p.config.Log.Warn("what a container writes is not read", "function", c.fn.Ref, "instance", c.id, "error", err)
		}
	}
	p.spares.resume()
	p.Fleet.Resume()
}

// Detach lets calls finish on replicas that are being stopped, until ctx ends,
// and lets go of the others, which stay in service for the next provider.
func (p *Provider) Detach(ctx context.Context) error {
	p.spares.pause()
	err := p.Fleet.Detach(ctx)
	for _, c := range p.all() {
		c.mute()
	}
	return errors.Join(err, p.release(ctx))
}

// Close stops all replicas, letting them finish their calls until ctx ends, and
// returns when nothing is left of them.
func (p *Provider) Close(ctx context.Context) error {
	p.spares.pause()
	err := p.Fleet.Close(ctx)
	p.spares.clear()
	p.dismiss(p.unclaimed())
	for _, c := range p.all() {
		<-c.gone
	}
	return errors.Join(err, p.release(ctx))
}

// release ends what runs beside, and lets go of what is not a container's.
func (p *Provider) release(ctx context.Context) error {
	p.end()
	p.background.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearTime)
	defer cancel()
	var err error
	if p.networks != nil {
		err = p.networks.Close(ctx)
	}
	return errors.Join(err, p.daemon.client.Close())
}

// all returns the containers that there are.
func (p *Provider) all() []*container {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*container, 0, len(p.containers))
	for _, c := range p.containers {
		list = append(list, c)
	}
	return list
}

// enlist makes a container known, to its end.
func (p *Provider) enlist(c *container) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.containers[c.id] = c
}

func (p *Provider) strike(c *container) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Under the same ID there may be another already.
	if p.containers[c.id] == c {
		delete(p.containers, c.id)
	}
}

// pause waits, and reports whether the provider still lives then.
func (p *Provider) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
	case <-p.life.Done():
	}
	return p.life.Err() == nil
}

// awaitGone returns when nothing is left of an earlier container with the ID.
func (p *Provider) awaitGone(ctx context.Context, id string) error {
	before := p.find(id)
	if before == nil {
		return nil
	}
	select {
	case <-before.gone:
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.known(id) {
		return errors.New("what is left of its last container cannot be cleared away yet: is containerd well?")
	}
	return nil
}

// drain marks the replica before it waits.
func (p *Provider) drain(ctx context.Context, r lofn.Replica) error {
	c := p.find(r.ID)
	if c != nil {
		c.mark()
	}
	return p.config.Drain(ctx, r)
}

// watchMemory has a function's log say when a process of it was ended for want
// of memory: its first process may live on, and fail the call.
func (p *Provider) watchMemory() {
	for {
		err := p.daemon.outOfMemory(p.life, func(id string) {
			c := p.find(id)
			if c != nil {
				p.config.Logs.Append(c.fn.Ref, id, "lofn: the kernel ended a process of this instance: it was over its memory limit")
			}
		})
		if !p.pause(time.Second) {
			return
		}
		p.config.Log.Debug("lost containerd's events, listening again", "error", err)
		if p.daemon.answers(p.life) {
			// It was away, which what failed meanwhile must not pay for.
			p.Retry(func(lofn.Function) bool { return true })
		}
	}
}

// Usage implements lofn.UsageReporter.
func (p *Provider) Usage(_ context.Context, ref lofn.Ref) (lofn.Usage, error) {
	return p.meter.Usage(ref), nil
}

// Consumption returns what each function consumed that has or had a replica.
func (p *Provider) Consumption() []fleet.Consumption { return p.meter.Consumption() }

// Forget drops what was counted for a function that was removed.
func (p *Provider) Forget(ref lofn.Ref) { p.meter.Forget(ref) }

// Digests returns the images that containers were made from.
func (p *Provider) Digests() []string {
	var digests []string
	for _, c := range p.all() {
		digests = append(digests, c.fn.Digest)
	}
	return digests
}

// Collect removes images that no function uses and no container is of.
func (p *Provider) Collect(ctx context.Context, used func(digest string) bool) error {
	mine := make(map[string]bool)
	for _, digest := range p.Digests() {
		mine[digest] = true
	}
	return p.images.Collect(ctx, func(digest string) bool { return mine[digest] || used(digest) })
}

// starter keeps Start out of the methods of Provider.
type starter struct{ *Provider }

// Start implements fleet.Starter.
func (s starter) Start(ctx context.Context, fn lofn.Function, id string, progress func(string)) (fleet.Instance, error) {
	began := time.Now()
	c := s.spares.take(id)
	if c == nil {
		var err error
		if c, err = s.make(ctx, fn, id, progress); err != nil {
			return nil, err
		}
		c.startup.Prepare = time.Since(began)
	} else {
		c.startup.Standby = true
	}
	if err := c.start(ctx); err != nil {
		c.kill()
		select {
		case <-c.gone:
		case <-time.After(tellTime): // without containerd nothing can be cleared away
		}
		return nil, err
	}
	s.spares.used(fn)
	return c, nil
}

// tellTime is how long it may go untold why a replica does not start, for the
// sake of clearing it away first.
const tellTime = 2 * time.Second
