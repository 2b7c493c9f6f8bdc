package app

import (
	"context"
	"net/netip"

	"lofn"
	"lofn/internal/registry"
)

// Containers is what the platform needs of a provider of containers.
type Containers = containers

// Needs is what it gives to one.
type Needs struct {
	Images *registry.Images
	Drain  func(context.Context, lofn.Replica) error
}

// RunWith is Run with another provider of containers.
func RunWith(ctx context.Context, o Options, open func(Needs) (Containers, error)) error {
	return run(ctx, o, func(_ context.Context, p *platform) (containers, error) {
		return open(Needs{Images: p.images, Drain: p.drain})
	})
}

// Reach listens where containers would call the platform whose main listener is
// at an address, and returns where that is: empty if it is the same.
func Reach(listen string, gateway netip.Addr, overTLS bool) (string, error) {
	p, err := openPorts(Options{Listen: listen, MetricsListen: "127.0.0.1:0"}, nil, false)
	if err != nil {
		return "", err
	}
	defer p.close()
	if err := p.reach(gateway, overTLS); err != nil || p.inner == nil {
		return "", err
	}
	return p.inner.Addr().String(), nil
}
