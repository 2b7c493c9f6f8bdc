package network

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

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
func ensureBridge(c Config, mtu int) error {
	link, err := netlink.LinkByName(c.Bridge)
	switch {
	case missing(err):
	case err != nil:
		return fmt.Errorf("bridge %s: %w", c.Bridge, err)
	default:
		if err := checkOwner(link, c.Dir); err != nil {
			return err
		}
	}
	if err := checkRoutes(c.Subnet, c.Bridge); err != nil {
		return err
	}
	if link == nil {
		link, err = makeBridge(c.Bridge, mtu)
	}
	if err == nil {
		err = furnishBridge(link, c)
	}
	if err != nil {
		return fmt.Errorf("bridge %s: %w", c.Bridge, err)
	}
	return nil
}

// checkOwner refuses interfaces that are others'. A platform leaves its folder in
// its bridge's alias: two that do not know of each other's addresses would give
// them out twice.
func checkOwner(link netlink.Link, dir string) error {
	name, owner := link.Attrs().Name, link.Attrs().Alias
	if link.Type() != "bridge" {
		return fmt.Errorf("bridge %s: there is an interface of that name already, and it is no bridge but of type %s", name, link.Type())
	}
	if owner == "" || owner == dir {
		return nil
	}
	if _, err := os.Stat(owner); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("bridge %s belongs to the platform that has its networks in %s: give this one another bridge and --container-subnet, or uninstall that one", name, owner)
}

func furnishBridge(link netlink.Link, c Config) error {
	if err := netlink.LinkSetAlias(link, c.Dir); err != nil {
		return fmt.Errorf("alias %s: %w", c.Dir, err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: gatewayOf(c.Subnet).AsSlice(), Mask: net.CIDRMask(c.Subnet.Bits(), 32)}}
	if err := netlink.AddrAdd(link, address); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("address %s: %w", address, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	return answerForAbsent(c)
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
		if !ok || to.Bits() < 8 || !to.Overlaps(subnet) || isFallback(route) {
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

// removeBridge removes the bridge and its rules, unless they are another
// platform's.
func removeBridge(c Config, f firewall) error {
	link, err := netlink.LinkByName(c.Bridge)
	switch {
	case missing(err):
		return f.close()
	case err == nil && checkOwner(link, c.Dir) != nil:
		return nil
	case err == nil:
		err = errors.Join(withdraw(link), netlink.LinkDel(link))
	}
	if err != nil {
		return fmt.Errorf("bridge %s: %w", c.Bridge, err)
	}
	return f.close()
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
