package network

import (
	"context"
	"net/netip"
)

// Network is what one container has of the network. Its methods are safe for
// concurrent use.
type Network struct {
	id      string
	path    string
	address netip.Addr
}

// ID is what Adopt takes. It is also the last element of Path.
func (n *Network) ID() string { return n.id }

// Path is the file of the network namespace, for the container's specification.
func (n *Network) Path() string { return n.path }

// Address is the container's, which the machine and other containers reach.
func (n *Network) Address() netip.Addr { return n.address }

// Hosts returns what the container's /etc/hosts shall be: itself, and the
// platform as gateway and gateway.openfaas. The host name may be empty.
func (n *Network) Hosts(hostname string) []byte { return nil }

// Release removes the network. The container's processes must have ended.
func (n *Network) Release(ctx context.Context) {}
