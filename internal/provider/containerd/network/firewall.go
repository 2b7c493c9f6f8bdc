package network

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/coreos/go-iptables/iptables"
)

// firewall lets containers reach the outside: three rules for the subnet, however
// many containers there are.
type firewall struct {
	bridge string
	subnet netip.Prefix
}

// rule is one of iptables.
type rule struct {
	table, chain string
	spec         []string
}

func (f firewall) rules() []rule {
	note := []string{"-m", "comment", "--comment", "lofn: containers"}
	forward := func(spec ...string) rule { return rule{"filter", "FORWARD", append(spec, note...)} }
	return []rule{
		{"nat", "POSTROUTING", append([]string{"-s", f.subnet.String(), "!", "-o", f.bridge, "-j", "MASQUERADE"}, note...)},
		// What comes from outside is let in as an answer only.
		forward("-o", f.bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"),
		forward("-i", f.bridge, "-s", f.subnet.String(), "-j", "ACCEPT"),
	}
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

// close removes the rules. Forwarding stays on, for somebody else may need it by
// now.
func (f firewall) close() error {
	tables, err := openTables()
	if err != nil {
		return err
	}
	for _, r := range f.rules() {
		err = errors.Join(err, tables.DeleteIfExists(r.table, r.chain, r.spec...))
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
