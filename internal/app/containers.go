package app

import (
	"context"
	"net/netip"

	"lofn"
	"lofn/internal/provider/fleet"
	"lofn/internal/provider/mux"
	"lofn/internal/registry"
)

// Providers: what Options.Provider may be.
const (
	// ProviderProcess runs functions as processes of the machine only.
	ProviderProcess = "process"
	// ProviderContainerd runs those as processes whose image is made for it, and
	// all others in containers.
	ProviderContainerd = "containerd"
)

// ContainerOptions say how containers are run, if they are.
type ContainerOptions struct {
	// Socket is where containerd listens, and Namespace the one of its
	// namespaces that lofn has to itself.
	Socket, Namespace string
	// Subnet has the addresses of the containers, and of this machine for them.
	Subnet netip.Prefix
	// Standby is for how many functions a container waits, created.
	Standby int
	// Pull and NonRoot are for functions that do not say otherwise.
	Pull    lofn.Pull
	NonRoot bool
}

// containers is a provider of containers, as the platform needs it. They outlive
// the process: one lets go of them and the next adopts them.
type containers interface {
	mux.Runtime
	// Gateway is the address of this machine for containers, not valid if there
	// is none.
	Gateway() netip.Addr
	// Survivors is how many containers of a function an earlier platform left in
	// service. It may be asked until the function is ensured.
	Survivors(ref lofn.Ref) int
	// Collect removes the images that are not used and that no container is of.
	Collect(ctx context.Context, used func(digest string) bool) error
	// Settle removes what earlier platforms left and no function has claimed. It
	// comes when the provider has been told of every function, and no other
	// process has containers any more. It may be called again.
	Settle()
	// Pause has it make, start and stop nothing until Resume: meanwhile another
	// process may have the containers.
	Pause()
	Resume()
	// Detach ends the provider and leaves the containers in service as they are.
	Detach(ctx context.Context) error
}

// openContainers makes the provider of containers for a platform of which all
// else is there that it needs.
type openContainers func(ctx context.Context, p *platform) (containers, error)

// noContainers is in the place of a provider where there is none: what was
// deployed to run in containers says why it does not start.
type noContainers struct {
	*fleet.Fleet
	images *registry.Images
}

func openNoContainers(_ context.Context, p *platform) (containers, error) {
	return noContainers{images: p.images, Fleet: fleet.New(fleet.Config{
		Starter: refusal{}, Log: p.log,
		Failed: func(fn lofn.Ref, id, reason string) { p.journal.Append(fn, id, "lofn: "+reason) },
	})}, nil
}

// refusal starts nothing.
type refusal struct{}

// Start implements fleet.Starter.
func (refusal) Start(context.Context, lofn.Function, string, func(string)) (fleet.Instance, error) {
	return nil, lofn.Errorf(lofn.Unavailable, "it runs in a container, and this lofn runs processes only: %s", howToContain)
}

// howToContain is what there is to do about it.
const howToContain = "start lofn with --provider containerd, as root and with containerd installed"

// Look implements mux.Runtime.
func (n noContainers) Look(ctx context.Context, fn lofn.Function) (lofn.Image, error) {
	return n.images.Resolve(ctx, fn.Spec.Image)
}

// Admit implements mux.Runtime.
func (noContainers) Admit(_ context.Context, fn lofn.Function, _ lofn.Image) (lofn.Resolution, error) {
	return lofn.Resolution{}, lofn.Errorf(lofn.Invalid, "image: %s is one for containers, and this lofn runs processes only: %s, or deploy an image that `lofn build` made for processes",
		fn.Spec.Image, howToContain)
}

func (noContainers) Usage(context.Context, lofn.Ref) (lofn.Usage, error) { return lofn.Usage{}, nil }
func (noContainers) SyncSecret(context.Context, string, string) error    { return nil }
func (noContainers) Consumption() []fleet.Consumption                    { return nil }
func (noContainers) Forget(lofn.Ref)                                     {}
func (noContainers) Digests() []string                                   { return nil }
func (noContainers) Gateway() netip.Addr                                 { return netip.Addr{} }
func (noContainers) Survivors(lofn.Ref) int                              { return 0 }
func (noContainers) Collect(context.Context, func(string) bool) error    { return nil }
func (noContainers) Settle()                                             {}

// had is how many replicas a function had in the platform before this one: that
// went on until now, or whose containers do.
func (p *platform) had(ref lofn.Ref) int {
	return max(p.before.had(ref), p.containers.Survivors(ref))
}

// settle has what nobody claims of earlier platforms' containers removed, once
// that can be told.
func (p *platform) settle(ctx context.Context) {
	select {
	case <-p.reconciler.Told():
	case <-ctx.Done():
		return
	}
	if p.before.await(ctx); ctx.Err() == nil {
		p.containers.Settle()
	}
}
