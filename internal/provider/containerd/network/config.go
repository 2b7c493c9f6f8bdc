// Package network gives each container a network of its own: a network
// namespace that CNI plugins have attached to a bridge. Namespaces are made
// ahead and wait, so that the start of a container need not wait for them. The
// kernel attaches no more than 1023 to one bridge.
//
// What there is, and whose it is, is told by files in one folder, which several
// processes may use at once: see ledger.
package network

import (
	"log/slog"
	"net/netip"
	"runtime"
	"time"
)

// Config says how containers are connected. Every field but Dir has a default.
type Config struct {
	// Dir is a folder for the platform's own use. It belongs on a tmpfs, such as
	// /run: what it tells of does not outlive a reboot, nor shall it.
	Dir string
	// Bridge is the name of the interface that connects the containers.
	Bridge string
	// Subnet is where containers get their IPv4 addresses from. The first of them
	// is the machine's own.
	Subnet netip.Prefix
	// Ports are those of the gateway's address at which containers reach the
	// platform, also where the machine's firewall admits nothing.
	Ports []uint16
	// PluginDirs are where CNI plugins are looked for.
	PluginDirs []string
	// ConfList is a file with a list of CNI plugins to use instead of the
	// bridge. Bridge, Subnet and Ports mean nothing then; forwarding and address
	// translation are up to the list.
	ConfList string
	// Spare is how many networks wait for containers, 0 for none.
	Spare int
	// Timeout is how long the plugins may take for one network.
	Timeout time.Duration
	// Log is told what nobody waits for: failures in the background, and what
	// containers have to do without.
	Log *slog.Logger
}

// Defaults of Config.
const (
	DefaultBridge  = "lofn0"
	DefaultSubnet  = "10.62.0.0/16"
	DefaultTimeout = 30 * time.Second
)

func (c Config) withDefaults() Config {
	if c.Bridge == "" {
		c.Bridge = DefaultBridge
	}
	if !c.Subnet.IsValid() {
		c.Subnet = netip.MustParsePrefix(DefaultSubnet)
	}
	if len(c.PluginDirs) == 0 {
		// Where Debian's package and where the project's own archive have them.
		c.PluginDirs = []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"}
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// concurrency is how many networks are made or removed at a time. It is work
// for the kernel and for processes that start, so more would only take turns.
func concurrency() int { return max(2, min(runtime.NumCPU(), 8)) }
