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

	// syncing orders secret updates, so that an older value cannot overwrite a
	// newer one.
	syncing sync.Mutex

	meter *fleet.Meter

	mu       sync.Mutex
	replicas map[string]running
	// synced counts secret updates: a replica that read its secrets before one
	// and was not among the running ones yet reads them again.
	synced int
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
	p := &Provider{config: c, machine: m, meter: fleet.NewMeter(), replicas: make(map[string]running)}
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
	p.syncing.Lock()
	defer p.syncing.Unlock()
	value, err := p.config.Secrets.Secret(ctx, namespace, name)
	if lofn.CodeOf(err) == lofn.NotFound {
		return nil // running replicas keep what they were started with
	}
	if err != nil {
		return err
	}
	uses := func(fn lofn.Function) bool {
		return fn.Namespace == namespace && slices.Contains(fn.Spec.Secrets, name)
	}
	p.mu.Lock()
	p.synced++
	var users []running
	for _, r := range p.replicas {
		if uses(r.fn) {
			users = append(users, r)
		}
	}
	p.mu.Unlock()
	var failures []error
	for _, r := range users {
		if err := r.writeSecret(name, value); err != nil {
			failures = append(failures, fmt.Errorf("secret %s of %s: %w", name, r.id, err))
		}
	}
	p.Retry(uses)
	return errors.Join(failures...)
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
	p.mu.Lock()
	defer p.mu.Unlock()
	digests := make(map[string]bool)
	for _, r := range p.replicas {
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
	s.mu.Lock()
	synced := s.synced
	s.mu.Unlock()
	if p.secrets, err = s.secrets(ctx, fn); err != nil {
		return nil, err
	}
	p.ended = func(cpu time.Duration) { s.strike(p, cpu) }
	i, err := s.machine.start(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := s.enlist(ctx, i, p, synced); err != nil {
		now, cancel := context.WithCancel(ctx)
		cancel()
		i.Stop(now)
		return nil, err
	}
	return i, nil
}

// secrets returns the values of the function's secrets by name.
func (s starter) secrets(ctx context.Context, fn lofn.Function) (map[string][]byte, error) {
	values := make(map[string][]byte, len(fn.Spec.Secrets))
	for _, name := range fn.Spec.Secrets {
		value, err := s.config.Secrets.Secret(ctx, fn.Namespace, name)
		if lofn.CodeOf(err) == lofn.NotFound {
			return nil, lofn.Errorf(lofn.NotFound, "secret %q does not exist in namespace %s: create it and the function starts", name, fn.Namespace)
		}
		if err != nil {
			return nil, fmt.Errorf("secret %q: %w", name, err)
		}
		values[name] = value
	}
	return values, nil
}

// enlist makes the replica known to SyncSecret and Usage, to its end.
func (s starter) enlist(ctx context.Context, i instance, p *program, synced int) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	over, stale := p.over, len(p.secrets) > 0 && synced != s.synced
	if !over {
		s.replicas[p.id] = running{instance: i, program: p, metered: s.meter.Begin(p.fn.Ref, i.consumed)}
	}
	s.mu.Unlock()
	if over {
		<-i.Done()
		return i.Err()
	}
	if !stale {
		return nil
	}
	values, err := s.secrets(ctx, p.fn)
	for name, value := range values {
		err = errors.Join(err, i.writeSecret(name, value))
	}
	return err
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
