package network

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// checkNames refuses what the kernel would refuse later, or take for something
// else.
func checkNames(bridge string, subnet netip.Prefix) error {
	if len(bridge) >= unix.IFNAMSIZ {
		return fmt.Errorf("bridge: %q is longer than the %d characters that names of interfaces may have", bridge, unix.IFNAMSIZ-1)
	}
	if !subnet.Addr().Is4() || subnet.Bits() < 8 || subnet.Bits() > 29 {
		return fmt.Errorf("--container-subnet: %s is no IPv4 network with room for containers: use one such as %s", subnet, DefaultSubnet)
	}
	return nil
}

// ensureBridge makes the bridge, with the gateway's address, unless it is there.
func ensureBridge(name string, subnet netip.Prefix, mtu int) error {
	link, err := netlink.LinkByName(name)
	if err != nil && !missing(err) {
		return fmt.Errorf("bridge %s: %w", name, err)
	}
	if err == nil && link.Type() != "bridge" {
		return fmt.Errorf("bridge %s: there is an interface of that name already, and it is no bridge but of type %s", name, link.Type())
	}
	if err := checkRoutes(subnet, name); err != nil {
		return err
	}
	if missing(err) {
		link, err = makeBridge(name, mtu)
	}
	if err != nil {
		return fmt.Errorf("bridge %s: %w", name, err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: gatewayOf(subnet).AsSlice(), Mask: net.CIDRMask(subnet.Bits(), 32)}}
	if err := netlink.AddrAdd(link, address); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("bridge %s: address %s: %w", name, address, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bridge %s: %w", name, err)
	}
	return nil
}

// makeBridge gives the bridge a hardware address of its own. Otherwise it has
// the lowest of those attached, which containers would see change.
func makeBridge(name string, mtu int) (netlink.Link, error) {
	attributes := netlink.NewLinkAttrs()
	attributes.Name, attributes.MTU = name, mtu
	attributes.HardwareAddr = make(net.HardwareAddr, 6)
	_, _ = rand.Read(attributes.HardwareAddr) // never fails
	attributes.HardwareAddr[0] = attributes.HardwareAddr[0]&^1 | 2
	err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attributes})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	return netlink.LinkByName(name)
}

// checkRoutes refuses a subnet that this machine reaches by another interface
// than the bridge.
func checkRoutes(subnet netip.Prefix, bridge string) error {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("routes of this machine: %w", err)
	}
	for _, route := range routes {
		to, ok := prefixOf(route.Dst)
		// VPNs put two halves in front of the default route, which are no more
		// specific about a subnet than that.
		if !ok || to.Bits() < 8 || !to.Overlaps(subnet) {
			continue
		}
		if by := nameOf(route.LinkIndex); by != bridge {
			return fmt.Errorf("--container-subnet: containers cannot have %s, since this machine has a route to %s (%s): choose a network that is not in use", subnet, to, by)
		}
	}
	return nil
}

// nameOf is what an interface is called. Routes that lead nowhere have none.
func nameOf(index int) string {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return "no interface"
	}
	return link.Attrs().Name
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	address, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(address.Unmap(), ones), ok
}

// outwardMTU is the largest packet that goes out by the default route, or 0. Where
// it is less than Ethernet's, as in many clouds, containers that do not know have
// connections that hang.
func outwardMTU() int {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 0
	}
	for _, route := range routes {
		if to, ok := prefixOf(route.Dst); ok && to.Bits() != 0 {
			continue
		}
		if link, err := netlink.LinkByIndex(route.LinkIndex); err == nil {
			return link.Attrs().MTU
		}
	}
	return 0
}

func removeBridge(name string) error {
	link, err := netlink.LinkByName(name)
	if missing(err) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("bridge %s: %w", name, err)
	}
	return nil
}

func missing(err error) bool {
	_, ok := errors.AsType[netlink.LinkNotFoundError](err)
	return ok
}

// isLocal tells whether an address is one of this machine's.
func isLocal(address netip.Addr) (bool, error) {
	all, err := net.InterfaceAddrs()
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if local, ok := netip.AddrFromSlice(n.IP); ok && local.Unmap() == address {
				return true, nil
			}
		}
	}
	return false, err
}
