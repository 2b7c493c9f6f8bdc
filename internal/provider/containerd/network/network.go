package network

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// Network is what one container has of the network. Its methods are safe for
// concurrent use.
type Network struct {
	attachment
	networks *Networks
	id, path string
}

// read returns a network of this process', as far as it is whole.
func (n *Networks) read(id string) (*Network, error) {
	network := &Network{networks: n, id: id, path: n.path(id)}
	if !isNamespace(network.path) {
		return nil, fmt.Errorf("network %s: its namespace is gone from %s", id, network.path)
	}
	content, err := os.ReadFile(n.ledger.mine(id))
	if err != nil {
		return nil, err
	}
	address, gateway, _ := strings.Cut(string(content), " ")
	if network.address, err = netip.ParseAddr(address); err != nil {
		return nil, fmt.Errorf("network %s is only half made: %w", id, err)
	}
	// The plugins may have named none.
	network.gateway, _ = netip.ParseAddr(gateway)
	return network, nil
}

// write notes what read needs.
func (n *Network) write() error {
	content := n.address.String() + " " + n.gateway.String()
	return os.WriteFile(n.networks.ledger.mine(n.id), []byte(content), 0o600)
}

// ID is what Adopt takes. It is also the last element of Path.
func (n *Network) ID() string { return n.id }

// Path is the file of the network namespace, for the container's specification.
func (n *Network) Path() string { return n.path }

// Address is the container's, which the machine and other containers reach.
func (n *Network) Address() netip.Addr { return n.address }

// Release removes the network, and is to be called when the container's
// processes have ended. If ctx ends before it is gone, the rest happens in the
// background. Releasing again does nothing.
//
// A namespace is not given to another container. It could be: without
// capabilities the processes in it could change neither interfaces nor routes. But
// connections outlive processes. What the last container had not sent yet would be
// sent from the next one's address, and the port that it listened on can refuse to
// be listened on for a minute. Above all, whoever still knows the address would reach
// another function under it. A new namespace has the address that was free
// longest, and since namespaces are made ahead, nobody waits for it.
func (n *Network) Release(ctx context.Context) {
	if err := n.networks.ledger.discard(n.id); err != nil {
		if !os.IsNotExist(err) {
			n.networks.Log.Warn("a network of a container stays until the next start", "network", n.id, "error", err)
		}
		return
	}
	if err := n.networks.dismantle(ctx, n.id); err != nil {
		n.networks.Log.Warn("a network of a container is not removed yet; this is tried again", "in", look, "network", n.id, "error", err)
		return
	}
	forgetNeighbour(n.networks.Bridge, n.address)
}
