package network_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lofn/internal/provider/containerd/containerdtest"
	"lofn/internal/provider/containerd/network"
)

// envVictim has the test binary take a network in the folder that it names, with
// the plugins in testPlugins there, until it is killed.
const envVictim = "LOFN_NETWORK_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envVictim); dir != "" {
		os.Exit(victim(dir))
	}
	os.Exit(containerdtest.Main(m))
}

func victim(dir string) int {
	n, err := network.New(context.Background(), network.Config{Dir: dir, PluginDirs: []string{testPlugins(dir)}})
	if err == nil {
		_, err = n.Take(context.Background())
	}
	fmt.Fprintln(os.Stderr, "the victim was not killed:", err)
	return 1
}

func testPlugins(dir string) string { return filepath.Join(dir, "plugins") }

// pluginDir is where the plugins of this machine are.
func pluginDir(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"/opt/cni/bin", "/usr/lib/cni"} {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			return dir
		}
	}
	t.Skip("SKIPPED: no CNI plugins: on Debian, apt install containernetworking-plugins")
	return ""
}

// folder returns one for networks, and checks at the end that nothing is left.
func folder(t *testing.T) string {
	t.Helper()
	containerdtest.Require(t)
	pluginDir(t)
	if _, err := exec.LookPath("iptables"); err != nil {
		t.Skip("SKIPPED: no iptables: on Debian, apt install iptables")
	}
	dir := filepath.Join(t.TempDir(), "run")
	t.Cleanup(func() {
		if err := network.Remove(context.Background(), network.Config{Dir: dir}); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the folder is left, with %q: %v", files(t, dir), err)
		}
		if left := rules(t); len(left) > 0 {
			t.Errorf("rules are left:\n%s", strings.Join(left, "\n"))
		}
	})
	return dir
}

func open(t *testing.T, c network.Config) *network.Networks {
	t.Helper()
	n, err := network.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, n) })
	return n
}

// shut may be called again.
func shut(t *testing.T, n *network.Networks) {
	t.Helper()
	if err := n.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func take(t *testing.T, n *network.Networks) *network.Network {
	t.Helper()
	taken, err := n.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return taken
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("in vain: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// inside runs do with the network of a namespace. What do starts on other threads
// has it not.
func inside(t *testing.T, path string, do func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Errorf("in %s: %v", path, err)
	}
}

// files lists those below a folder of networks that tell of any.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, folder := range []string{"netns", "spare", "dead", "cni", "ipam", "owners"} {
		_ = filepath.WalkDir(filepath.Join(dir, folder), func(path string, d fs.DirEntry, err error) error {
			// host-local remembers which address was last, and has a lock.
			if err == nil && !d.IsDir() && d.Name() != "lock" && !strings.HasPrefix(d.Name(), "last_reserved") {
				all = append(all, strings.TrimPrefix(path, dir))
			}
			return nil
		})
	}
	return all
}

// rules lists the rules of iptables.
func rules(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, table := range []string{"nat", "filter"} {
		output, err := exec.Command("iptables", "-t", table, "-S").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		for line := range strings.Lines(string(output)) {
			if strings.HasPrefix(line, "-A") {
				all = append(all, strings.TrimSpace(line))
			}
		}
	}
	return all
}

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }
