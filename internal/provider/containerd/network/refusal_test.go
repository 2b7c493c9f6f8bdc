package network_test

import (
	"context"
	"log/slog"
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

func TestContainersAnswerWithoutIptables(t *testing.T) {
	dir := folder(t)
	t.Setenv("PATH", t.TempDir())
	var log strings.Builder
	n := open(t, network.Config{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	taken := take(t, n)
	listen(t, taken.Path(), ":8080")
	if seen, err := ask(taken.Address(), 8080); err != nil || seen != n.Gateway() {
		t.Errorf("the container sees %s: %v", seen, err)
	}
	taken.Release(t.Context())
	shut(t, n)
	if said := log.String(); strings.Count(said, "apt install iptables") != 1 {
		t.Errorf("the log says %q", said)
	}
}

func TestSparesOfAnotherSubnetAreNotTaken(t *testing.T) {
	dir := folder(t)
	before := open(t, network.Config{Dir: dir, Spare: 1})
	eventually(t, "one waits", func() bool { return spares(dir) == 1 })
	after := open(t, network.Config{Dir: dir, Subnet: prefix("10.7.0.0/24")})
	taken := take(t, after)
	if !prefix("10.7.0.0/24").Contains(taken.Address()) {
		t.Errorf("the container has %s", taken.Address())
	}
	shut(t, before)
}

func TestTwoPlatformsDoNotShareABridge(t *testing.T) {
	one, two := folder(t), folder(t)
	n := open(t, network.Config{Dir: one})
	if other, err := network.New(t.Context(), network.Config{Dir: two}); err == nil || !strings.Contains(err.Error(), one) || !strings.Contains(err.Error(), "--container-subnet") {
		t.Fatalf("got %v, %v", other, err)
	}
	must(t, network.Remove(t.Context(), network.Config{Dir: two}))
	if _, err := netlink.LinkByName(network.DefaultBridge); err != nil || len(rules(t)) == 0 {
		t.Errorf("another platform's bridge was removed: %v", err)
	}
	own := network.Config{Dir: two, Bridge: "lofn1", Subnet: prefix("10.7.0.0/24")}
	t.Cleanup(func() { must(t, network.Remove(context.Background(), own)) })
	open(t, own)
	shut(t, n)
	must(t, network.Remove(t.Context(), network.Config{Dir: one}))
	shut(t, open(t, network.Config{Dir: one}))
	must(t, network.Remove(t.Context(), network.Config{Dir: one}))
}
