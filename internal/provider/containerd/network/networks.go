package network

import (
	"context"
	"errors"
	"net/netip"
)

// Networks makes, keeps and removes the networks of containers. All methods are
// safe for concurrent use, also by several processes with the same folder.
type Networks struct {
	Config
	gateway netip.Addr
}

// New checks that networks can be made here and prepares the machine for them.
// When it returns, the gateway's address can be listened on.
func New(ctx context.Context, c Config) (*Networks, error) {
	return nil, errors.New("network: not written yet")
}

// Gateway is the machine's address on the containers' network: where functions
// reach the platform.
func (n *Networks) Gateway() netip.Addr { return n.gateway }

// Take returns a network for a container, one that waits or else a new one. It
// is this process' until it is released or adopted by another.
func (n *Networks) Take(ctx context.Context) (*Network, error) {
	return nil, errors.New("network: not written yet")
}

// Adopt returns the network of a container that was started by an earlier
// process, by the ID that it had then.
func (n *Networks) Adopt(id string) (*Network, error) {
	return nil, errors.New("network: not written yet")
}

// Keep removes every network that a process left behind which is no more, also
// those that were only half made, unless used says that a container has it.
func (n *Networks) Keep(ctx context.Context, used func(id string) bool) error {
	return errors.New("network: not written yet")
}

// Close removes the networks that wait, unless another process is there to use
// them, and what has been released. Those in use stay.
func (n *Networks) Close(ctx context.Context) error { return errors.New("network: not written yet") }

// Remove takes everything off the machine that New and Take have put there:
// all networks, the bridge, the rules and the folder. It fails while a process
// uses them.
func Remove(ctx context.Context, c Config) error { return errors.New("network: not written yet") }

// ResolvConf returns what a container's /etc/resolv.conf shall be: the
// machine's, with servers that can be reached from a container.
func (n *Networks) ResolvConf() ([]byte, error) { return nil, errors.New("network: not written yet") }
