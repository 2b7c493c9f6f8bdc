package network_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"lofn/internal/provider/containerd/network"
)

// ports counts what is attached to the bridge.
func ports(t *testing.T) int {
	t.Helper()
	links, err := netlink.LinkList()
	must(t, err)
	count := 0
	for _, link := range links {
		if link.Type() == "veth" {
			count++
		}
	}
	return count
}

func spares(dir string) int {
	entries, _ := os.ReadDir(filepath.Join(dir, "spare"))
	return len(entries)
}

func TestSparesWaitAndAreReplaced(t *testing.T) {
	dir := folder(t)
	n := open(t, network.Config{Dir: dir, Spare: 2})
	eventually(t, "two wait", func() bool { return spares(dir) == 2 })
	waiting, err := os.ReadDir(filepath.Join(dir, "netns"))
	must(t, err)
	taken := take(t, n)
	if !slices.ContainsFunc(waiting, func(e fs.DirEntry) bool { return e.Name() == taken.ID() }) {
		t.Error("a new one was made while two waited")
	}
	eventually(t, "two wait again", func() bool { return spares(dir) == 2 })
	taken.Release(t.Context())
	taken.Release(t.Context())
	shut(t, n)
	if left := files(t, dir); len(left) > 0 || ports(t) > 0 {
		t.Errorf("left: %q and %d interfaces", left, ports(t))
	}
	if _, err := n.Take(t.Context()); err == nil {
		t.Error("there are networks after Close")
	}
}

func TestSurvivorsAreAdoptedAndTheRestIsRemoved(t *testing.T) {
	dir := folder(t)
	before := open(t, network.Config{Dir: dir, Spare: 1})
	survivor, lost := take(t, before), take(t, before)
	eventually(t, "one waits", func() bool { return spares(dir) == 1 })
	shut(t, before)
	listen(t, survivor.Path(), ":8080")
	after := open(t, network.Config{Dir: dir})
	must(t, after.Keep(t.Context(), func(id string) bool { return id == survivor.ID() }))
	if _, err := after.Adopt(lost.ID()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a container that is no more has its network: %v", err)
	}
	adopted, err := after.Adopt(survivor.ID())
	must(t, err)
	if adopted.Address() != survivor.Address() || adopted.Path() != survivor.Path() {
		t.Errorf("adopted %s at %s, which was %s at %s", adopted.Address(), adopted.Path(), survivor.Address(), survivor.Path())
	}
	if seen, err := ask(adopted.Address(), 8080); err != nil || seen != after.Gateway() {
		t.Errorf("the survivor answers %s, %v", seen, err)
	}
	if ports(t) != 1 {
		t.Errorf("%d interfaces are left", ports(t))
	}
	adopted.Release(t.Context())
	if left := files(t, dir); len(left) > 0 || ports(t) > 0 {
		t.Errorf("left: %q and %d interfaces", left, ports(t))
	}
}

func TestTwoProcessesShareTheFolder(t *testing.T) {
	dir := folder(t)
	old := open(t, network.Config{Dir: dir, Spare: 1})
	serving, starting := take(t, old), take(t, old)
	eventually(t, "one waits", func() bool { return spares(dir) == 1 })
	spare, err := os.ReadDir(filepath.Join(dir, "spare"))
	must(t, err)
	// Without spares of its own: what it takes is the old one's.
	successor := open(t, network.Config{Dir: dir})
	isServing := func(id string) bool { return id == serving.ID() }
	must(t, successor.Keep(t.Context(), isServing))
	if ports(t) < 3 {
		t.Error("what a living process has was removed")
	}
	adopted, err := successor.Adopt(serving.ID())
	must(t, err)
	if taken := take(t, successor); taken.ID() != spare[0].Name() {
		t.Error("the spare was not taken")
	}
	shut(t, old)
	must(t, successor.Keep(t.Context(), isServing))
	if _, err := os.Stat(starting.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what only the old process had is left: %v", err)
	}
	if _, err := successor.Adopt(adopted.ID()); err != nil {
		t.Error(err)
	}
}

// delayed makes plugins of which bridge does not begin to ADD before the returned
// function is called.
func delayed(t *testing.T, dir string) (begin func(), reached string) {
	t.Helper()
	plugins, real := testPlugins(dir), pluginDir(t)
	must(t, os.MkdirAll(plugins, 0o755))
	gate, reached := filepath.Join(plugins, "gate"), filepath.Join(plugins, "reached")
	must(t, unix.Mkfifo(gate, 0o600))
	script := fmt.Sprintf("#!/bin/sh\nif [ $CNI_COMMAND = ADD ]; then : >%s; read line <%s; fi\nexec %s/bridge\n", reached, gate, real)
	must(t, os.WriteFile(filepath.Join(plugins, "bridge"), []byte(script), 0o755))
	must(t, os.Symlink(filepath.Join(real, "host-local"), filepath.Join(plugins, "host-local")))
	t.Cleanup(func() { must(t, os.RemoveAll(plugins)) })
	return func() { must(t, os.WriteFile(gate, []byte("\n"), 0)) }, reached
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestNothingIsLeftOfAProcessKilledInTheMiddle(t *testing.T) {
	dir := folder(t)
	begin, reached := delayed(t, dir)
	victim := exec.Command("/proc/self/exe")
	victim.Env, victim.Stderr = append(os.Environ(), envVictim+"="+dir), os.Stderr
	must(t, victim.Start())
	eventually(t, "the plugin runs", func() bool { return exists(reached) })
	must(t, victim.Process.Kill())
	_ = victim.Wait()
	n := open(t, network.Config{Dir: dir})
	asked := 0
	// The plugin is still there, and does its work only now.
	must(t, n.Keep(t.Context(), func(string) bool { asked++; begin(); return false }))
	if asked != 1 {
		t.Errorf("Keep asked for %d networks", asked)
	}
	if left := files(t, dir); len(left) > 0 || ports(t) > 0 {
		t.Errorf("left: %q and %d interfaces", left, ports(t))
	}
}

func TestPluginThatHangsIsGivenUp(t *testing.T) {
	dir := folder(t)
	_, reached := delayed(t, dir)
	n := open(t, network.Config{Dir: dir, PluginDirs: []string{testPlugins(dir)}, Timeout: 300 * time.Millisecond})
	if _, err := n.Take(t.Context()); err == nil || !strings.Contains(err.Error(), "took longer than 300ms") {
		t.Errorf("got %v", err)
	}
	must(t, os.Remove(reached))
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the caller has gone")
	failed := make(chan error)
	go func() {
		_, err := n.Take(ctx)
		failed <- err
	}()
	eventually(t, "the plugin runs", func() bool { return exists(reached) })
	cancel(gone)
	if err := <-failed; !errors.Is(err, gone) && (err == nil || !strings.Contains(err.Error(), "took longer")) {
		t.Errorf("got %v", err)
	}
	shut(t, n)
	if left := files(t, dir); len(left) > 0 || ports(t) > 0 {
		t.Errorf("left: %q and %d interfaces", left, ports(t))
	}
}

func TestSpareWhoseNamespaceIsGoneIsNotTaken(t *testing.T) {
	dir := folder(t)
	n := open(t, network.Config{Dir: dir, Spare: 1})
	eventually(t, "one waits", func() bool { return spares(dir) == 1 })
	waiting, err := os.ReadDir(filepath.Join(dir, "spare"))
	must(t, err)
	must(t, unix.Unmount(filepath.Join(dir, "netns", waiting[0].Name()), unix.MNT_DETACH))
	if taken := take(t, n); taken.ID() == waiting[0].Name() {
		t.Error("a container would have no network")
	}
}

func TestTheAdminsOwnListIsUsed(t *testing.T) {
	dir := folder(t)
	list := func(bridge string, gateway bool) string {
		t.Cleanup(func() { cut(t, bridge) })
		file := filepath.Join(t.TempDir(), "own.conflist")
		must(t, os.WriteFile(file, fmt.Appendf(nil, `{"cniVersion": "1.0.0", "name": "own", "plugins": [{"type": "bridge", "bridge": %q, "isGateway": %v,
			"ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.99.0.0/24"}]]}}]}`, bridge, gateway, filepath.Join(dir, "ipam")), 0o600))
		return file
	}
	if n, err := network.New(t.Context(), network.Config{Dir: dir, ConfList: list("own0", false)}); err == nil || !strings.Contains(err.Error(), "isGateway") {
		t.Errorf("got %v, %v", n, err)
	}
	n := open(t, network.Config{Dir: dir, ConfList: list("own1", true)})
	if got := n.Gateway().String(); got != "10.99.0.1" {
		t.Errorf("the gateway is %s", got)
	}
	taken := take(t, n)
	if !prefix("10.99.0.0/24").Contains(taken.Address()) {
		t.Errorf("the container has %s", taken.Address())
	}
	if len(rules(t)) > 0 {
		t.Errorf("rules that the list did not ask for: %q", rules(t))
	}
	// Whatever the list is by then, it is removed as it was made.
	shut(t, n)
	after := open(t, network.Config{Dir: dir})
	must(t, after.Keep(t.Context(), func(string) bool { return false }))
	if left := files(t, dir); len(left) > 0 || ports(t) > 0 {
		t.Errorf("left: %q and %d interfaces", left, ports(t))
	}
}

func TestWhatARebootLeftIsRemoved(t *testing.T) {
	dir := folder(t)
	before := open(t, network.Config{Dir: dir, Spare: 1})
	lost := take(t, before)
	eventually(t, "one waits", func() bool { return spares(dir) == 1 })
	// On a disk the files are still there, and nothing of what they tell of.
	shut(t, before)
	must(t, unix.Unmount(lost.Path(), unix.MNT_DETACH))
	cut(t, network.DefaultBridge)
	eventually(t, "the interfaces are gone", func() bool { return ports(t) == 0 })
	after := open(t, network.Config{Dir: dir})
	must(t, after.Keep(t.Context(), func(string) bool { return false }))
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	take(t, after)
}

func TestFewPluginsRunAtOnce(t *testing.T) {
	dir := folder(t)
	plugins, record := testPlugins(dir), filepath.Join(t.TempDir(), "record")
	must(t, os.MkdirAll(plugins, 0o755))
	t.Cleanup(func() { must(t, os.RemoveAll(plugins)) })
	script := fmt.Sprintf("#!/bin/sh\necho + >>%s\n%s/bridge\nstatus=$?\necho - >>%[1]s\nexit $status\n", record, pluginDir(t))
	must(t, os.WriteFile(filepath.Join(plugins, "bridge"), []byte(script), 0o755))
	must(t, os.Symlink(filepath.Join(pluginDir(t), "host-local"), filepath.Join(plugins, "host-local")))
	n := open(t, network.Config{Dir: dir, PluginDirs: []string{plugins}})
	must(t, os.Remove(record)) // the versions of plugins are asked for one by one
	var all sync.WaitGroup
	const many = 12
	for range many {
		all.Go(func() {
			if _, err := n.Take(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	content, err := os.ReadFile(record)
	must(t, err)
	now, most := 0, 0
	for line := range strings.Lines(string(content)) {
		if now--; line == "+\n" {
			now += 2
		}
		most = max(most, now)
	}
	if most > network.Concurrency() || strings.Count(string(content), "+") != many {
		t.Errorf("%d ran at once, of\n%s", most, content)
	}
}
