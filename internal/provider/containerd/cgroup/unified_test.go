package cgroup_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lofn/internal/provider/containerd/cgroup"
)

// The files of version 2 as the kernel's Documentation/admin-guide/cgroup-v2.rst
// describes them.
func unified() map[string]string {
	return map[string]string{
		"cgroup.controllers":           "cpuset cpu io memory hugetlb pids rdma misc\n",
		"cgroup.subtree_control":       "",
		"lofn/cgroup.subtree_control":  "",
		"lofn/cpu.max":                 "max 100000\n",
		"lofn/memory.max":              "max\n",
		"lofn/memory.swap.max":         "max\n",
		"lofn/pids.max":                "max\n",
		"lofn/one/cgroup.kill":         "",
		"lofn/one/cpu.stat":            "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
		"lofn/one/memory.current":      "10485760\n",
		"lofn/one/memory.stat":         "anon 4194304\nfile 6291456\nkernel 65536\ninactive_anon 0\nactive_anon 4194304\ninactive_file 5242880\nactive_file 1048576\n",
		"lofn/one/memory.events":       "low 0\nhigh 0\nmax 12\noom 2\noom_kill 3\noom_group_kill 0\n",
		"lofn/without/cpu.stat":        "usage_usec 5\nuser_usec 5\nsystem_usec 0\n",
		"lofn/more/memory.current":     "100\n",
		"lofn/more/memory.stat":        "inactive_file 200\n",
		"lofn/nonsense/memory.current": "lots\n",
	}
}

// lay makes a folder with the files, and the mounts as /proc/self/mountinfo tells
// of them: where, of what type and with which option.
func lay(t *testing.T, files map[string]string, mounts ...[3]string) (root, mountinfo string) {
	t.Helper()
	root = t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "22 1 0:20 / / rw,relatime - ext4 /dev/root rw\n")
	for i, m := range mounts {
		fmt.Fprintf(&b, "%d 22 0:%d / %s rw,nosuid,nodev,noexec,relatime shared:9 - %s cgroup rw%s\n", 30+i, 30+i, filepath.Join(root, m[0]), m[1], m[2])
	}
	return root, b.String()
}

func openAt(t *testing.T, root, mounts string) *cgroup.Hierarchy {
	t.Helper()
	h, err := cgroup.OpenAt("/lofn", root, strings.NewReader(mounts))
	must(t, err)
	return h
}

func TestUnified(t *testing.T) {
	root, mounts := lay(t, unified(), [3]string{"", "cgroup2", ",nsdelegate"})
	h := openAt(t, root, mounts)
	for _, l := range []cgroup.Limit{cgroup.Memory, cgroup.Swap, cgroup.CPU, cgroup.Pids} {
		if err := h.Supports(l); err != nil {
			t.Errorf("%s: %v", l, err)
		}
	}
	if got := h.Path("one"); got != "/lofn/one" {
		t.Errorf("the path is %s", got)
	}
	for id, want := range map[string]cgroup.Usage{
		"one":     {CPU: 1234567 * time.Microsecond, Memory: 5 << 20, OOMKills: 3},
		"without": {CPU: 5 * time.Microsecond},
		// The files are not read at the same moment.
		"more": {},
	} {
		if got, err := h.Group(id).Read(); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", id, got, err, want)
		}
	}
	if u, err := h.Group("nobody").Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%+v, %v", u, err)
	}
	if u, err := h.Group("nonsense").Read(); err == nil || !strings.Contains(err.Error(), "nonsense/memory.current") {
		t.Errorf("%+v, %v", u, err)
	}
	// Those of the parent keep others from taking those of the root away.
	for _, dir := range []string{"", "lofn"} {
		content, err := os.ReadFile(filepath.Join(root, dir, "cgroup.subtree_control"))
		if err != nil || !strings.HasPrefix(string(content), "+") {
			t.Errorf("no controller was passed down from /%s: %q, %v", dir, content, err)
		}
	}
}

func TestLegacyAndHybrid(t *testing.T) {
	files := map[string]string{
		"memory/lofn/memory.limit_in_bytes":     "9223372036854771712\n",
		"memory/lofn/one/memory.usage_in_bytes": "3000\n",
		"memory/lofn/one/memory.stat":           "cache 2000\ninactive_file 1\ntotal_cache 2000\ntotal_inactive_file 1000\n",
		"memory/lofn/one/memory.oom_control":    "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
		"cpu,cpuacct/lofn/cpu.cfs_quota_us":     "-1\n",
		"cpu,cpuacct/lofn/one/cpuacct.usage":    "77\n",
		"pids/lofn/one/pids.max":                "1\n",
	}
	root, mounts := lay(t, files, [3]string{"unified", "cgroup2", ""}, [3]string{"memory", "cgroup", ",memory"},
		[3]string{"cpu,cpuacct", "cgroup", ",cpu,cpuacct"}, [3]string{"pids", "cgroup", ",pids"}, [3]string{"systemd", "cgroup", ",name=systemd"},
		[3]string{"elsewhere/memory", "cgroup", ",memory"})
	h := openAt(t, root, mounts)
	want := cgroup.Usage{CPU: 77, Memory: 2000, OOMKills: 4}
	if got, err := h.Group("one").Read(); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for limit, want := range map[cgroup.Limit]string{
		cgroup.Memory: "", cgroup.CPU: "", cgroup.Swap: "swapaccount=1", cgroup.Pids: "CONFIG_CGROUP_PIDS", "disk": "use memory, swap, cpu or pids",
	} {
		err := h.Supports(limit)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), string(limit))) {
			t.Errorf("%s: %v, want %q", limit, err, want)
		}
	}
}

func TestMachinesWithoutAreTold(t *testing.T) {
	root, mounts := lay(t, map[string]string{"cgroup.subtree_control": ""}, [3]string{"", "cgroup2", ""})
	h := openAt(t, root, mounts)
	if err := h.Supports(cgroup.Memory); err == nil || !strings.Contains(err.Error(), "cgroup_enable=memory") {
		t.Errorf("got %v", err)
	}
	root, mounts = lay(t, nil)
	if h, err := cgroup.OpenAt("/lofn", root, strings.NewReader(mounts)); err == nil || !strings.Contains(err.Error(), root) {
		t.Errorf("got %v, %v", h, err)
	}
	for _, name := range []string{"", "/", "lofn", "/lofn/", "/../lofn"} {
		if h, err := cgroup.OpenAt(name, root, strings.NewReader(mounts)); err == nil {
			t.Errorf("%q is accepted: %+v", name, h)
		}
	}
}

func TestWhatDoesNotEndIsGivenUp(t *testing.T) {
	// Here nothing acts on what is written, so the groups stay.
	root, mounts := lay(t, unified(), [3]string{"", "cgroup2", ""})
	h := openAt(t, root, mounts)
	ctx, cancel := context.WithCancelCause(t.Context())
	patience := errors.New("out of patience")
	cancel(patience)
	err := h.Keep(ctx, func(id string) bool { return id != "one" })
	if !errors.Is(err, patience) || !strings.Contains(err.Error(), "/lofn/one") {
		t.Errorf("got %v", err)
	}
	if content, err := os.ReadFile(filepath.Join(root, "lofn/one/cgroup.kill")); err != nil || string(content) != "1" {
		t.Errorf("the kernel was told %q, %v", content, err)
	}
}
