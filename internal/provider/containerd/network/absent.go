package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Who calls a container that has just gone shall hear so at once, and not when
// the kernel has lost patience: it may know of another.

// patienceFile is how long the kernel waits for an answer to the question who
// has an address, of which it asks three; in milliseconds. On a bridge within
// one machine the answer takes microseconds.
const (
	patienceFile = "retrans_time_ms"
	patience     = "100"
)

// fallbackMetric makes a route the last that is taken.
const fallbackMetric = 1 << 30

// fallback is the route to containers while none is attached to the bridge.
func fallback(subnet netip.Prefix) *netlink.Route {
	return &netlink.Route{
		Type: unix.RTN_UNREACHABLE, Priority: fallbackMetric,
		Dst: &net.IPNet{IP: subnet.Masked().Addr().AsSlice(), Mask: net.CIDRMask(subnet.Bits(), 32)},
	}
}

func isFallback(r netlink.Route) bool {
	return r.Type == unix.RTN_UNREACHABLE && r.Priority == fallbackMetric
}

// answerForAbsent has calls of containers that are not there refused soon.
func answerForAbsent(c Config) error {
	for file, value := range map[string]string{
		filepath.Join("/proc/sys/net/ipv4/neigh", c.Bridge, patienceFile):                 patience,
		filepath.Join("/proc/sys/net/ipv4/conf", c.Bridge, "ignore_routes_with_linkdown"): "1",
	} {
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			return err
		}
	}
	if err := netlink.RouteAdd(fallback(c.Subnet)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("route for containers that are not there: %w", err)
	}
	return nil
}

// withdraw removes the fallback for the bridge's addresses.
func withdraw(bridge netlink.Link) error {
	addresses, err := netlink.AddrList(bridge, netlink.FAMILY_V4)
	for _, a := range addresses {
		prefix, ok := prefixOf(a.IPNet)
		if !ok {
			continue
		}
		if e := netlink.RouteDel(fallback(prefix)); e != nil && !errors.Is(e, unix.ESRCH) {
			err = errors.Join(err, fmt.Errorf("route for containers that are not there: %w", e))
		}
	}
	return err
}

// forgetNeighbour has the kernel ask again who has an address.
func forgetNeighbour(bridge string, address netip.Addr) {
	link, err := netlink.LinkByName(bridge)
	if err != nil {
		return
	}
	_ = netlink.NeighDel(&netlink.Neigh{LinkIndex: link.Attrs().Index, Family: netlink.FAMILY_V4, IP: address.AsSlice()})
}
