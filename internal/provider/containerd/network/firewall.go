package network

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-iptables/iptables"
)

// firewall lets containers reach the outside and the platform: a few rules for the
// subnet, however many containers there are.
type firewall struct {
	bridge string
	subnet netip.Prefix
	// ports are those of the gateway that containers reach.
	ports []uint16
}

// rule is one of iptables.
type rule struct {
	table, chain string
	spec         []string
}

// note tells the rules for a bridge from others'.
func (f firewall) note() string { return "lofn:" + f.bridge }

func (f firewall) rules() []rule {
	note := []string{"-m", "comment", "--comment", f.note()}
	forward := func(spec ...string) rule { return rule{"filter", "FORWARD", append(spec, note...)} }
	all := []rule{
		{"nat", "POSTROUTING", append([]string{"-s", f.subnet.String(), "!", "-o", f.bridge, "-j", "MASQUERADE"}, note...)},
		// What comes from outside is let in as an answer only.
		forward("-o", f.bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"),
		forward("-i", f.bridge, "-s", f.subnet.String(), "-j", "ACCEPT"),
	}
	for _, port := range f.ports {
		spec := []string{"-d", gatewayOf(f.subnet).String(), "-i", f.bridge, "-p", "tcp", "--dport", strconv.Itoa(int(port)), "-j", "ACCEPT"}
		all = append(all, rule{"filter", "INPUT", append(spec, note...)})
	}
	return all
}

// open puts the rules in force where they are not. They come first, since others,
// such as Docker and ufw, have rules at the end that drop what is not theirs.
func (f firewall) open() error {
	if err := forwardPackets(); err != nil {
		return err
	}
	tables, err := openTables()
	if err != nil {
		return err
	}
	for _, r := range f.rules() {
		if err := tables.InsertUnique(r.table, r.chain, 1, r.spec...); err != nil {
			return fmt.Errorf("iptables, table %s: %w", r.table, err)
		}
	}
	return nil
}

// close removes the rules, also those for a subnet of before. Forwarding stays on,
// for somebody else may need it by now.
func (f firewall) close() error {
	tables, err := openTables()
	if err != nil {
		return err
	}
	for _, chain := range []rule{{"nat", "POSTROUTING", nil}, {"filter", "FORWARD", nil}, {"filter", "INPUT", nil}} {
		lines, failed := tables.List(chain.table, chain.chain)
		err = errors.Join(err, failed)
		for _, line := range lines {
			// "-A", the chain, and what Delete takes.
			fields := strings.Fields(strings.ReplaceAll(line, `"`, ""))
			if slices.Contains(fields, f.note()) && len(fields) > 2 {
				err = errors.Join(err, tables.Delete(chain.table, chain.chain, fields[2:]...))
			}
		}
	}
	return err
}

// lockSeconds is how long iptables waits for others who change rules.
const lockSeconds = 5

func openTables() (*iptables.IPTables, error) {
	tables, err := iptables.New(iptables.IPFamily(iptables.ProtocolIPv4), iptables.Timeout(lockSeconds))
	if err != nil {
		return nil, fmt.Errorf("iptables: %w: apt install iptables", err)
	}
	return tables, nil
}

const forwardFile = "/proc/sys/net/ipv4/ip_forward"

// forwardPackets writes only what is not so already: the kernel takes the
// occasion to reset other settings.
func forwardPackets() error {
	now, err := os.ReadFile(forwardFile)
	if err != nil || bytes.HasPrefix(now, []byte("1")) {
		return err
	}
	return os.WriteFile(forwardFile, []byte("1"), 0)
}
