package containertest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"lofn/internal/provider/containerd/containerdtest"
)

// traces are what there is of the platform's containers on this machine, outside
// its data. Tests run one by one in namespaces of their own, so that what is
// there of networks is theirs.
func (p *platform) traces() (all []string) {
	p.Helper()
	interfaces, err := net.Interfaces()
	if err != nil {
		p.Fatal(err)
	}
	for _, i := range interfaces {
		if i.Name != "lo" {
			all = append(all, "interface "+i.Name)
		}
	}
	rules, err := exec.Command("iptables-save").Output()
	if err != nil {
		p.Fatal(err)
	}
	for line := range strings.Lines(string(rules)) {
		// Rules, and chains that are not the kernel's.
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "-A") || strings.HasPrefix(line, ":") && strings.Contains(line, " - ") {
			all = append(all, "iptables "+line)
		}
	}
	all = append(all, p.mounts()...)
	if _, err := os.Stat(filepath.Join(p.data, "platform-id")); err == nil {
		for _, pattern := range []string{"/sys/fs/cgroup/*/lofn/" + p.id(), "/sys/fs/cgroup/lofn/" + p.id(), "/run/lofn/" + p.id(), p.data + "/containers/*"} {
			found, _ := filepath.Glob(pattern)
			all = append(all, found...)
		}
	}
	return append(all, p.records()...)
}

// mounts are those of networks, of containers and in the data. The machine's
// own, which are below those of the tests, can be of other platforms.
func (p *platform) mounts() (all []string) {
	p.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		p.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			at := fields[4]
			if _, err := os.Stat(at); err == nil && strings.HasPrefix(at, "/run/") || strings.HasPrefix(at, p.Dir+"/state") || strings.HasPrefix(at, p.data) {
				all = append(all, "mount "+at)
			}
		}
	}
	return all
}

// records are what containerd has, images left out.
func (p *platform) records() (all []string) {
	p.Helper()
	c, err := client.New(p.Socket)
	if err != nil {
		return nil // it does not run
	}
	defer c.Close()
	ctx := namespaces.WithNamespace(context.Background(), "lofn")
	containers, err := c.ContainerService().List(ctx)
	if err != nil {
		p.Fatal(err)
	}
	for _, r := range containers {
		all = append(all, "container "+r.ID)
	}
	err = c.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if i.Kind == snapshots.KindActive {
			all = append(all, "snapshot "+i.Name)
		}
		return nil
	})
	if err != nil {
		p.Fatal(err)
	}
	return all
}

// TestNothingIsLeftAfterClear is about what every other test ends with, too.
func TestNothingIsLeftAfterClear(t *testing.T) {
	p := serving(t)
	p.deploy("fn", p.push("fn:1", containerdtest.Answer(t, "ANSWER=one")))
	p.stop()
	before := strings.Join(p.traces(), "\n")
	for _, trace := range []string{"interface lofn", "iptables -A", "mount ", "/sys/fs/cgroup/", "/run/lofn/", "container fn-", "snapshot fn-"} {
		if !strings.Contains(before, trace) {
			t.Errorf("there is no %q, so nothing would be shown by its absence:\n%s", trace, before)
		}
	}
	// A machine is cleared though the containers and containerd are in disorder.
	p.Kill()
	if err := p.uninstall(); err == nil || !strings.Contains(err.Error(), "containerd is not running") {
		t.Errorf("without containerd clearing says %v", err)
	}
	p.Daemon.Start()
	for range 2 { // as often as one likes
		if err := p.uninstall(); err != nil {
			t.Error(err)
		}
	}
	if left := p.traces(); len(left) > 0 {
		t.Errorf("left:\n%s", strings.Join(left, "\n"))
	}
}
