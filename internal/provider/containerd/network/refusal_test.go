package network_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"lofn/internal/provider/containerd/network"
)

func TestWhatCannotWorkIsRefused(t *testing.T) {
	dir := folder(t)
	outside(t)
	incomplete := t.TempDir()
	must(t, os.Symlink(filepath.Join(pluginDir(t), "bridge"), filepath.Join(incomplete, "bridge")))
	for name, c := range map[string]struct {
		config network.Config
		want   []string
	}{
		"no folder":      {network.Config{}, []string{"Dir"}},
		"no plugins":     {network.Config{Dir: dir, PluginDirs: []string{t.TempDir()}}, []string{`"bridge"`, "apt install containernetworking-plugins"}},
		"one too few":    {network.Config{Dir: dir, PluginDirs: []string{incomplete}}, []string{`"host-local"`, "apt install"}},
		"a taken subnet": {network.Config{Dir: dir, Subnet: prefix("192.0.0.0/16")}, []string{"--container-subnet", "192.0.2.0/24", "out0"}},
		"a tiny subnet":  {network.Config{Dir: dir, Subnet: prefix("10.1.2.0/30")}, []string{"--container-subnet", "10.1.2.0/30"}},
		"IPv6":           {network.Config{Dir: dir, Subnet: prefix("fd00::/64")}, []string{"--container-subnet", "IPv4"}},
		"a long name":    {network.Config{Dir: dir, Bridge: "a-name-that-is-too-long"}, []string{"a-name-that-is-too-long", "15"}},
		"no bridge":      {network.Config{Dir: dir, Bridge: "out0"}, []string{"out0", "veth"}},
		"no list":        {network.Config{Dir: dir, ConfList: "/nowhere"}, []string{"/nowhere"}},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := network.New(t.Context(), c.config)
			if err == nil {
				shut(t, n)
				t.Fatal("accepted")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if _, err := netlink.LinkByName(network.DefaultBridge); err == nil {
				t.Error("there is a bridge all the same")
			}
		})
	}
}

func TestRemoveFailsWhileInUse(t *testing.T) {
	dir := folder(t)
	n := open(t, network.Config{Dir: dir})
	taken := take(t, n)
	if err := network.Remove(t.Context(), network.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "stop lofn") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(taken.Path()); err != nil {
		t.Error(err)
	}
}

func TestHosts(t *testing.T) {
	dir := folder(t)
	n := open(t, network.Config{Dir: dir, Subnet: prefix("10.7.0.0/24")})
	taken := take(t, n)
	names := make(map[string]string)
	for line := range strings.Lines(string(taken.Hosts("fn"))) {
		fields := strings.Fields(line)
		if _, err := netip.ParseAddr(fields[0]); err != nil {
			t.Error(err)
		}
		for _, name := range fields[1:] {
			if names[name] == "" {
				names[name] = fields[0]
			}
		}
	}
	for name, want := range map[string]string{"localhost": "127.0.0.1", "gateway": "10.7.0.1", "gateway.openfaas": "10.7.0.1", "fn": taken.Address().String()} {
		if names[name] != want {
			t.Errorf("%s is %q, want %s", name, names[name], want)
		}
	}
}
