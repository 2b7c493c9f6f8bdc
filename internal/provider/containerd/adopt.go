package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"

	"lofn"
	"lofn/internal/provider/fleet"
)

// Bounds on looking at the containers that an earlier platform left.
const (
	adoptAtOnce = 16
	// probeTime is how long one that serves may take to accept a connection.
	probeTime = 2 * time.Second
)

// adopt takes in the containers that are there. What is in no state to serve is
// left to Settle.
func (p *Provider) adopt(ctx context.Context) error {
	records, err := p.daemon.containers(ctx, p.config.Platform)
	if err != nil {
		return err
	}
	slots := make(chan struct{}, adoptAtOnce)
	var group sync.WaitGroup
	for _, r := range records {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := p.adoptOne(ctx, r); err != nil {
				p.config.Log.Info("a container is not taken over", "instance", r.ID, "function", r.Labels[labelFunction], "reason", err)
			}
		})
	}
	group.Wait()
	return ctx.Err()
}

var (
	errDraining   = errors.New("it was being stopped")
	errNotRunning = errors.New("it is not running")
)

// adoptOne takes in a container, or says why not.
func (p *Provider) adoptOne(ctx context.Context, r containers.Container) error {
	var fn lofn.Function
	ext := r.Extensions[extensionFunction]
	if ext == nil {
		return errors.New("its record does not say of which function it is")
	}
	if err := json.Unmarshal(ext.GetValue(), &fn); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(p.dirOf(r.ID), drainingName)); !errors.Is(err, fs.ErrNotExist) {
		return errDraining
	}
	status, pid, err := p.daemon.task(ctx, r.ID)
	if err != nil {
		return err
	}
	if status != task.Status_RUNNING && status != task.Status_CREATED {
		return errNotRunning
	}
	c := p.newContainer(r.ID, fn)
	if err := c.attach(ctx, r, pid); err != nil {
		c.detach()
		return err
	}
	return p.takeIn(ctx, c, status)
}

// attach opens what a container of which the record tells has.
func (c *container) attach(ctx context.Context, r containers.Container, pid int) (err error) {
	if c.network, err = c.p.networks.Adopt(r.Labels[labelNetwork]); err != nil {
		return err
	}
	var spec oci.Spec
	if err = json.Unmarshal(r.Spec.GetValue(), &spec); err != nil || spec.Process == nil {
		return errors.Join(errors.New("its description cannot be read"), err)
	}
	c.env = spec.Process.Env
	if c.process, err = openProcess(pid); err != nil {
		return err
	}
	// The number is still that of the container's process, and not of another
	// that has got it since.
	if status, again, err := c.p.daemon.task(ctx, c.id); err != nil || again != pid || status == task.Status_STOPPED {
		return errors.Join(errNotRunning, err)
	}
	return c.listen()
}

// takeIn sorts a container in among those in service or those that wait.
func (p *Provider) takeIn(ctx context.Context, c *container, status task.Status) error {
	if status == task.Status_RUNNING {
		probe, cancel := context.WithTimeout(ctx, probeTime)
		defer cancel()
		if err := c.listens(probe); err != nil {
			c.detach()
			return err
		}
		c.metered = p.meter.Begin(c.fn.Ref, c.consumed)
	}
	p.enlist(c)
	go c.follow()
	if given, err := p.secrets.Read(ctx, c.fn); err == nil {
		for name, value := range given.Values {
			_ = c.writeSecret(name, value)
		}
	}
	if status == task.Status_CREATED {
		p.spares.put(c)
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.survivors[c.fn.Ref] = append(p.survivors[c.fn.Ref], c)
	return nil
}

// detach lets go of a container that was not taken in.
func (c *container) detach() {
	c.mute()
	if c.process != nil {
		c.process.close()
	}
}

// claim implements fleet.Config.
func (p *Provider) claim(ref lofn.Ref) []fleet.Survivor {
	var list []fleet.Survivor
	for _, c := range p.claimed(ref) {
		list = append(list, fleet.Survivor{Function: c.fn, ID: c.id, Instance: c})
	}
	return list
}

func (p *Provider) claimed(ref lofn.Ref) []*container {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.survivors[ref]
	delete(p.survivors, ref)
	return list
}

// Survivors is how many containers of a function were in service when the
// Provider was made, until the function is ensured; of several generations those
// of which there are most, since others were to take their place, or they that
// of others.
func (p *Provider) Survivors(ref lofn.Ref) (most int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := make(map[int64]int)
	for _, c := range p.survivors[ref] {
		counts[c.fn.Generation]++
		most = max(most, counts[c.fn.Generation])
	}
	return most
}

// unclaimed returns, and forgets, the survivors of all functions.
func (p *Provider) unclaimed() (list []*container) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ref, survivors := range p.survivors {
		list = append(list, survivors...)
		delete(p.survivors, ref)
	}
	return list
}

// dismiss stops containers of which no replica is made.
func (p *Provider) dismiss(list []*container) {
	for _, c := range list {
		p.background.Go(func() { c.Stop(p.life) })
	}
}

// find returns the container with an ID, nil if it is not this provider's.
func (p *Provider) find(id string) *container {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.containers[id]
}

func (p *Provider) known(id string) bool { return p.find(id) != nil }

// Settle tells the provider that every function there is has been ensured, and
// that no other provider leads replicas any more. What belongs to no function is
// removed from now on: at once and then every minute.
func (p *Provider) Settle() {
	p.settled.Do(func() {
		p.dismiss(p.unclaimed())
		p.spares.settle()
		p.background.Go(p.sweepAlways)
	})
}

const sweepInterval = time.Minute

func (p *Provider) sweepAlways() {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		if err := p.sweep(p.life); err != nil && p.life.Err() == nil {
			p.config.Log.Warn("what was left of containers is still there, trying again", "in", sweepInterval, "error", err)
		}
		select {
		case <-ticker.C:
		case <-p.life.Done():
			return
		}
	}
}

// sweep removes what belongs to none of the containers: what a process that was
// killed left half-made, and what could not be removed at its time.
func (p *Provider) sweep(ctx context.Context) error {
	if p.Paused() {
		return nil
	}
	records, err := p.daemon.containers(ctx, p.config.Platform)
	if err != nil {
		return err
	}
	var failures []error
	for _, r := range records {
		if !p.known(r.ID) {
			failures = append(failures, p.sweepOne(ctx, r.ID))
		}
	}
	failures = append(failures, p.sweepShims(), p.sweepSnapshots(ctx), p.sweepFiles(p.file(containersName)), p.sweepFiles(p.config.Dir))
	used := make(map[string]bool)
	for _, c := range p.all() {
		used[c.network.ID()] = true
	}
	return errors.Join(append(failures,
		p.groups.Keep(ctx, p.known),
		p.networks.Keep(ctx, func(id string) bool { return used[id] }))...)
}

func (p *Provider) sweepOne(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, clearTime)
	defer cancel()
	return p.daemon.raze(ctx, id)
}

// sweepShims ends the shims of containers that are not there: those of which
// there is a folder, so that they were this platform's.
func (p *Provider) sweepShims() error {
	ids, err := p.lost(p.file(containersName))
	if len(ids) > 0 {
		err = errors.Join(err, p.daemon.reap(func(id string) bool { return slices.Contains(ids, id) }))
	}
	return err
}

func (p *Provider) sweepSnapshots(ctx context.Context) error {
	ids, err := p.daemon.snapshots(ctx, p.config.Platform)
	for _, id := range ids {
		if !p.known(id) {
			err = errors.Join(err, p.daemon.forget(ctx, id))
		}
	}
	return err
}

// sweepFiles removes the folders of containers that are not there.
func (p *Provider) sweepFiles(dir string) error {
	ids, err := p.lost(dir)
	for _, id := range ids {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, id)))
	}
	return err
}

// lost returns the IDs of the folders in one, which may be missing, whose
// containers are not there.
func (p *Provider) lost(dir string) (ids []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if !p.known(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, err
}
