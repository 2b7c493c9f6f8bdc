package network_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"lofn/internal/provider/containerd/network"
)

// patience is for what has to happen.
const patience = 20 * time.Second

// serve tells whoever connects what address it comes from.
func serve(t *testing.T, l net.Listener) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, netip.MustParseAddrPort(conn.RemoteAddr().String()).Addr())
			conn.Close()
		}
	}()
}

// ask returns what serve says at an address. It stays on its thread.
func ask(address netip.Addr, port int) (netip.Addr, error) {
	conn, err := net.DialTimeout("tcp4", netip.AddrPortFrom(address, uint16(port)).String(), patience)
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	answer, err := io.ReadAll(conn)
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(string(answer))
}

// expect asks from inside a namespace and compares.
func expect(t *testing.T, from string, to netip.Addr, port int, want netip.Addr) {
	t.Helper()
	inside(t, from, func() error {
		seen, err := ask(to, port)
		if err == nil && seen != want {
			err = fmt.Errorf("%s sees %s, want %s", to, seen, want)
		}
		return err
	})
}

// listen serves inside a namespace.
func listen(t *testing.T, path, address string) {
	t.Helper()
	inside(t, path, func() error {
		l, err := net.Listen("tcp4", address)
		if err == nil {
			serve(t, l)
		}
		return err
	})
}

// outside makes a network that the machine is connected to and that knows nothing
// of containers, and returns the machine's address there and that of a server on
// port 80.
func outside(t *testing.T) (machine, server netip.Addr) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "outside")
	must(t, network.MakeNamespace(path))
	t.Cleanup(func() { must(t, network.RemoveNamespace(path)) })
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	attributes := netlink.NewLinkAttrs()
	attributes.Name, attributes.MTU = "out0", 1400
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "in0", PeerNamespace: netlink.NsFd(fd)}))
	machine, server = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	must(t, address("out0", machine))
	link, err := netlink.LinkByName("out0")
	must(t, err)
	t.Cleanup(func() { cut(t, "out0") })
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: server.AsSlice()}))
	inside(t, path, func() error { return address("in0", server) })
	listen(t, path, ":80")
	return machine, server
}

// cut removes an interface, if it is there.
func cut(t *testing.T, name string) {
	t.Helper()
	if link, err := netlink.LinkByName(name); err == nil {
		must(t, netlink.LinkDel(link))
	}
}

func address(name string, a netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(24, 32)}}); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestContainersReachGatewayEachOtherAndTheOutside(t *testing.T) {
	dir := folder(t)
	machine, server := outside(t)
	n := open(t, network.Config{Dir: dir, Spare: 1})
	platform, err := net.Listen("tcp4", n.Gateway().String()+":8080")
	must(t, err)
	serve(t, platform)
	a, b := take(t, n), take(t, n)
	// Without privileges, which the port would need elsewhere.
	listen(t, b.Path(), ":80")
	loopback := netip.MustParseAddr("127.0.0.1")
	expect(t, b.Path(), loopback, 80, loopback)
	expect(t, a.Path(), n.Gateway(), 8080, a.Address())
	expect(t, a.Path(), b.Address(), 80, a.Address())
	expect(t, a.Path(), server, 80, machine)
	if seen, err := ask(b.Address(), 80); err != nil || seen != n.Gateway() {
		t.Errorf("the container sees the platform as %s: %v", seen, err)
	}
	inside(t, a.Path(), func() error {
		link, err := netlink.LinkByName("eth0")
		if err == nil && link.Attrs().MTU != 1400 {
			err = fmt.Errorf("packets may have %d bytes, and 1400 on the way out", link.Attrs().MTU)
		}
		return err
	})
}

func TestContainersAreHeardWhateverOthersDoToTheFirewall(t *testing.T) {
	dir := folder(t)
	machine, server := outside(t)
	iptables(t, "-P", "FORWARD", "DROP")
	t.Cleanup(func() { iptables(t, "-P", "FORWARD", "ACCEPT") })
	// As ufw does.
	iptables(t, "-A", "INPUT", "-i", network.DefaultBridge, "-j", "REJECT")
	t.Cleanup(func() { iptables(t, "-F", "INPUT") })
	config := network.Config{Dir: dir, Ports: []uint16{8080}}
	n, again := open(t, config), open(t, config)
	platform, err := net.Listen("tcp4", n.Gateway().String()+":8080")
	must(t, err)
	serve(t, platform)
	a := take(t, n)
	expect(t, a.Path(), server, 80, machine)
	expect(t, a.Path(), n.Gateway(), 8080, a.Address())
	before := rules(t)
	if len(before) != 5 {
		t.Errorf("after two starts and one container there are %d rules:\n%s", len(before), strings.Join(before, "\n"))
	}
	iptables(t, "-F")
	iptables(t, "-A", "INPUT", "-i", network.DefaultBridge, "-j", "REJECT")
	iptables(t, "-t", "nat", "-F")
	take(t, again)
	eventually(t, "the rules come back", func() bool { return len(rules(t)) == len(before) })
	expect(t, a.Path(), server, 80, machine)
	expect(t, a.Path(), n.Gateway(), 8080, a.Address())
}

func iptables(t *testing.T, arguments ...string) {
	t.Helper()
	if output, err := exec.Command("iptables", arguments...).CombinedOutput(); err != nil {
		t.Fatalf("iptables %s: %v: %s", strings.Join(arguments, " "), err, output)
	}
}

func TestManyAtOnce(t *testing.T) {
	dir := folder(t)
	n := open(t, network.Config{Dir: dir, Spare: 3})
	platform, err := net.Listen("tcp4", n.Gateway().String()+":8080")
	must(t, err)
	serve(t, platform)
	const many = 50
	var mu sync.Mutex
	taken := make(map[netip.Addr]*network.Network)
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			one, err := n.Take(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			taken[one.Address()] = one
			mu.Unlock()
		})
	}
	all.Wait()
	if len(taken) != many {
		t.Fatalf("%d networks have %d addresses", many, len(taken))
	}
	for _, one := range taken {
		expect(t, one.Path(), n.Gateway(), 8080, one.Address())
		all.Go(func() { one.Release(t.Context()) })
	}
	all.Wait()
	shut(t, n)
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestAbsentContainersAreNotWaitedFor(t *testing.T) {
	n := open(t, network.Config{Dir: folder(t)})
	gone := take(t, n)
	gone.Release(t.Context())
	// Without any container the bridge leads nowhere; while others are attached
	// the kernel asks them for the address.
	for range 2 {
		_, err := net.Dial("tcp", net.JoinHostPort(gone.Address().String(), "8080"))
		if !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("error %v, want one that says the host cannot be reached", err)
		}
		defer take(t, n).Release(context.WithoutCancel(t.Context()))
	}
}
