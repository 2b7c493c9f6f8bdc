package network

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
)

// resolvFiles are asked for servers in this order. The second has what systemd's
// resolver asks itself, where the first only names that resolver, which listens
// on the machine's loopback interface.
func resolvFiles() []string { return []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} }

// fallbackServers are asked where the machine knows none that containers could
// reach: a resolver on its loopback interface, which does not tell whom it asks.
// They are the two that most people's containers ask already.
func fallbackServers() []string { return []string{"8.8.8.8", "1.1.1.1"} }

// ResolvConf returns what a container's /etc/resolv.conf shall be: the machine's,
// without the servers that cannot be reached from a container. If none is left,
// there are public ones in their place, and the log says so.
func (n *Networks) ResolvConf() ([]byte, error) {
	content, public, err := resolvConf(resolvFiles()...)
	if public {
		n.Log.Warn("no DNS server in "+strings.Join(resolvFiles(), " or ")+" can be reached from containers, so public ones are asked", "servers", fallbackServers())
	}
	return content, err
}

// resolvConf makes one file of the first that has servers for containers; public
// tells that there is none.
func resolvConf(files ...string) (content []byte, public bool, err error) {
	for _, file := range files {
		text, failed := os.ReadFile(file)
		if failed != nil && !errors.Is(failed, fs.ErrNotExist) {
			return nil, false, failed
		}
		settings, servers := parseResolvConf(string(text))
		if content == nil {
			content = settings
		}
		if len(servers) > 0 {
			return append(settings, nameservers(servers)...), false, nil
		}
	}
	return append(content, nameservers(fallbackServers())...), true, nil
}

func nameservers(addresses []string) []byte {
	return []byte("nameserver " + strings.Join(addresses, "\nnameserver ") + "\n")
}

// parseResolvConf splits a file into the servers that a container can reach and
// the rest, without comments.
func parseResolvConf(text string) (settings []byte, servers []string) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "#") || strings.HasPrefix(fields[0], ";"):
		case fields[0] != "nameserver":
			settings = fmt.Appendln(settings, strings.Join(fields, " "))
		case len(fields) > 1 && reachable(fields[1]):
			servers = append(servers, fields[1])
		}
	}
	return settings, servers
}

// reachable tells whether containers, which have IPv4 only and a loopback
// interface of their own, can reach an address.
func reachable(text string) bool {
	address, err := netip.ParseAddr(text)
	return err == nil && address.Is4() && !address.IsLoopback() && !address.IsUnspecified()
}

// Hosts returns what the container's /etc/hosts shall be: itself, and the
// platform as gateway and gateway.openfaas. The host name may be empty.
func (n *Network) Hosts(hostname string) []byte {
	var b bytes.Buffer
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	fmt.Fprintf(&b, "%s gateway.openfaas gateway\n", n.networks.gateway)
	if hostname != "" {
		fmt.Fprintf(&b, "%s %s\n", n.address, hostname)
	}
	return b.Bytes()
}
