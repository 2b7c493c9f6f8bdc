package containerd

import (
	"context"
	"errors"
	"os"

	"lofn/internal/provider/containerd/cgroup"
	"lofn/internal/provider/containerd/network"
)

// Remove takes off the machine all that a Provider with the configuration has
// left on it: containers, networks with their bridge and rules, control groups
// and files. Images stay with containerd. No such Provider may be open. Only the
// fields that say where things are matter.
func Remove(ctx context.Context, c Config) error {
	c = c.withDefaults()
	d, err := dial(ctx, c.Socket, c.Namespace)
	if err != nil {
		return err
	}
	defer d.client.Close()
	p := &Provider{config: c, daemon: d}
	failures := []error{p.razeAll(ctx)}
	groups, err := cgroup.Open(c.Cgroup)
	if err == nil {
		err = groups.Remove(ctx)
	}
	failures = append(failures, err, network.Remove(ctx, c.network()))
	for _, dir := range []string{c.RunDir, c.Dir} {
		failures = append(failures, os.RemoveAll(dir))
	}
	return errors.Join(failures...)
}

// razeAll removes every container of the platform.
func (p *Provider) razeAll(ctx context.Context) error {
	records, err := p.daemon.containers(ctx, p.config.Platform)
	failures := []error{err}
	for _, r := range records {
		failures = append(failures, p.sweepOne(ctx, r.ID))
	}
	return errors.Join(append(failures, p.sweepShims(), p.sweepSnapshots(ctx))...)
}
