package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"lofn"
	"lofn/internal/provider/fleet"
)

// Provider implements lofn.Provider, lofn.Resolver, lofn.UsageReporter and
// lofn.SecretSyncer. Its methods are safe for concurrent use.
type Provider struct {
	*fleet.Fleet
	config  Config
	machine machine
	closing sync.Once

	meter   *fleet.Meter
	secrets *fleet.Secrets

	mu       sync.Mutex
	replicas map[string]running
}

// machine is what the operating system contributes.
type machine interface {
	// start makes a replica and returns it once it accepts calls.
	start(ctx context.Context, p *program) (instance, error)
	// deployed and forget tell which functions there are: those are prepared
	// for. News are what was not known.
	deployed(ref lofn.Ref) (news bool)
	forget(ref lofn.Ref)
	close() error
}

// instance is a replica of this provider.
type instance interface {
	fleet.Instance
	// writeSecret gives a secret a new value, in one step.
	writeSecret(name string, value []byte) error
	// consumed returns the CPU time that the replica has used, as far as the
	// kernel tells while it runs, and the memory that it has now.
	consumed() (cpu time.Duration, memory int64)
}

type running struct {
	instance
	*program
	metered *fleet.Metered
}

// New returns a provider on which nothing runs. It clears away what earlier
// ones with the same RunDir left behind; one that still lives is spared.
func New(c Config) (*Provider, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Environ == nil {
		c.Environ = os.Environ()
	}
	if c.ReadyTimeout <= 0 {
		c.ReadyTimeout = 30 * time.Second
	}
	if c.TmpBytes <= 0 {
		c.TmpBytes = 1 << 30
	}
	m, err := newMachine(c)
	if err != nil {
		return nil, err
	}
	p := &Provider{config: c, machine: m, meter: fleet.NewMeter(), secrets: fleet.NewSecrets(c.Secrets), replicas: make(map[string]running)}
	p.Fleet = fleet.New(fleet.Config{
		Starter: starter{p}, Drain: c.Drain, MaxStarts: c.MaxStarts, Started: c.Started, Log: c.Log,
		Failed: func(fn lofn.Ref, id, reason string) { c.Logs.Append(fn, id, "lofn: "+reason) },
	})
	return p, nil
}

// Ensure implements lofn.Provider.
func (p *Provider) Ensure(ctx context.Context, fn lofn.Function) error {
	news := p.machine.deployed(fn.Ref)
	err := p.Fleet.Ensure(ctx, fn)
	if err != nil && news {
		p.machine.forget(fn.Ref)
	}
	return err
}

// Remove implements lofn.Provider.
func (p *Provider) Remove(ctx context.Context, ref lofn.Ref) error {
	err := p.Fleet.Remove(ctx, ref)
	if err == nil {
		p.machine.forget(ref)
	}
	return err
}

// Close stops all replicas, letting them finish their calls until ctx ends,
// and returns when none of their processes is left.
func (p *Provider) Close(ctx context.Context) error {
	err := p.Fleet.Close(ctx)
	p.closing.Do(func() { err = errors.Join(err, p.machine.close()) })
	return err
}

// Resolve implements lofn.Resolver.
func (p *Provider) Resolve(ctx context.Context, fn lofn.Function) (lofn.Resolution, error) {
	image, err := p.Look(ctx, fn)
	if err != nil {
		return lofn.Resolution{}, err
	}
	return p.Admit(ctx, fn, image)
}

// Look is the first half of Resolve: it finds the function's image, and reads
// what it says about itself.
func (p *Provider) Look(ctx context.Context, fn lofn.Function) (lofn.Image, error) {
	return p.config.Images.Resolve(ctx, fn.Spec.Image)
}

// Admit is the second half of Resolve: it checks that the function could run
// from the image.
func (p *Provider) Admit(_ context.Context, fn lofn.Function, image lofn.Image) (lofn.Resolution, error) {
	if err := suits(fn.Spec.Image, image); err != nil {
		return lofn.Resolution{}, err
	}
	if _, err := newProgram(fn, "", image, p.config); err != nil {
		return lofn.Resolution{}, err
	}
	return lofn.Resolution{Digest: image.Digest, Defaults: image.Defaults(), Runtime: lofn.RuntimeProcess}, nil
}

// suits reports whether an image can run as processes of this machine.
func suits(name string, image lofn.Image) error {
	if image.Labels[lofn.LabelRuntime] != lofn.RuntimeHost {
		return lofn.Errorf(lofn.Invalid, "image: %s brings its own file system and needs a container provider; this one runs images made by `lofn build`", name)
	}
	if image.Labels[lofn.LabelArchitecture] == lofn.ArchitectureAny {
		return nil
	}
	if image.OS != runtime.GOOS || image.Architecture != runtime.GOARCH {
		return lofn.Errorf(lofn.Invalid, "image: %s is for %s/%s, this machine is %s/%s", name, image.OS, image.Architecture, runtime.GOOS, runtime.GOARCH)
	}
	return nil
}

// SyncSecret implements lofn.SecretSyncer: running replicas see the new value,
// and those that failed for want of it try again at once.
func (p *Provider) SyncSecret(ctx context.Context, namespace, name string) error {
	return p.secrets.Sync(ctx, namespace, name, func(uses func(lofn.Function) bool, value []byte) error {
		var failures []error
		for _, r := range p.running() {
			if !uses(r.fn) {
				continue
			}
			if err := r.writeSecret(name, value); err != nil {
				failures = append(failures, fmt.Errorf("secret %s of %s: %w", name, r.id, err))
			}
		}
		p.Retry(uses)
		return errors.Join(failures...)
	})
}

// running returns the replicas that run.
func (p *Provider) running() []running {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.replicas))
}

// Usage implements lofn.UsageReporter.
func (p *Provider) Usage(_ context.Context, ref lofn.Ref) (lofn.Usage, error) {
	return p.meter.Usage(ref), nil
}

// Consumption returns what each function consumed that has or had a replica.
func (p *Provider) Consumption() []fleet.Consumption { return p.meter.Consumption() }

// Forget drops what was counted for a function that was removed.
func (p *Provider) Forget(ref lofn.Ref) { p.meter.Forget(ref) }

// Digests returns the images that replicas run from.
func (p *Provider) Digests() []string {
	digests := make(map[string]bool)
	for _, r := range p.running() {
		digests[r.image.Digest] = true
	}
	return slices.Collect(maps.Keys(digests))
}

// starter keeps Start out of the methods of Provider.
type starter struct{ *Provider }

// Start implements fleet.Starter.
func (s starter) Start(ctx context.Context, fn lofn.Function, id string, _ func(string)) (fleet.Instance, error) {
	began := time.Now()
	image, err := s.config.Images.Unpack(ctx, fn.Spec.Image, fn.Digest)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", fn.Spec.Image, err)
	}
	if err := suits(fn.Spec.Image, image); err != nil {
		return nil, err
	}
	p, err := newProgram(fn, id, image, s.config)
	if err != nil {
		return nil, err
	}
	p.began = began
	given, err := s.secrets.Read(ctx, fn)
	if err != nil {
		return nil, err
	}
	p.secrets = given.Values
	p.ended = func(cpu time.Duration) { s.strike(p, cpu) }
	i, err := s.machine.start(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := s.enlist(ctx, i, p, given); err != nil {
		now, cancel := context.WithCancel(ctx)
		cancel()
		i.Stop(now)
		return nil, err
	}
	return i, nil
}

// enlist makes the replica known to SyncSecret and Usage, to its end.
func (s starter) enlist(ctx context.Context, i instance, p *program, given fleet.Given) error {
	s.mu.Lock()
	over := p.over
	if !over {
		s.replicas[p.id] = running{instance: i, program: p, metered: s.meter.Begin(p.fn.Ref, i.consumed)}
	}
	s.mu.Unlock()
	if over {
		<-i.Done()
		return i.Err()
	}
	return s.secrets.CatchUp(ctx, p.fn, given, i.writeSecret)
}

// strike forgets a replica that ended, but for the CPU time that it used.
func (s starter) strike(p *program, cpu time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.over = true
	// Under the same ID the replica may have been started again already.
	if r := s.replicas[p.id]; r.program == p {
		delete(s.replicas, p.id)
		s.meter.End(r.metered, cpu)
		return
	}
	s.meter.Spend(p.fn.Ref, cpu)
}
