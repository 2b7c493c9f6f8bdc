package cgroup_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"

	"lofn/internal/provider/containerd/cgroup"
	"lofn/internal/provider/containerd/containerdtest"
)

// envGreedy has the test binary read its input to the end and then use more and
// more memory.
const envGreedy = "LOFN_CGROUP_GREEDY"

func TestMain(m *testing.M) {
	if os.Getenv(envGreedy) != "" {
		os.Exit(greedy())
	}
	os.Exit(containerdtest.Main(m))
}

func greedy() int {
	_, _ = io.Copy(io.Discard, os.Stdin)
	sum := 0
	for all := [][]byte{}; len(all) < 256; {
		all = append(all, make([]byte, 1<<20))
		for i := range all[len(all)-1] {
			all[len(all)-1][i] = byte(i)
			sum += i
		}
	}
	return 1 + sum%2
}

// hierarchy is that of this machine, which is to be left as it was.
func hierarchy(t *testing.T) *cgroup.Hierarchy {
	t.Helper()
	containerdtest.Require(t)
	h, err := cgroup.Open(containerdtest.CgroupParent())
	must(t, err)
	t.Cleanup(func() { must(t, h.Remove(context.Background())) })
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start starts a process in a container's group, with what lets it go on.
func start(t *testing.T, h *cgroup.Hierarchy, id string, cmd *exec.Cmd) (run func()) {
	t.Helper()
	input, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	must(t, h.Enter(id, cmd.Process.Pid))
	return func() { must(t, input.Close()) }
}

func TestUsageIsToldAlsoAfterTheEnd(t *testing.T) {
	h := hierarchy(t)
	for _, limit := range []cgroup.Limit{cgroup.Memory, cgroup.CPU, cgroup.Pids} {
		if err := h.Supports(limit); err != nil {
			t.Skipf("SKIPPED: %v", err)
		}
	}
	group := h.Group("one")
	if _, err := group.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a group that is not there: %v", err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envGreedy+"=1")
	run := start(t, h, "one", cmd)
	must(t, h.Bound("one", 64<<20))
	before, err := group.Read()
	if err != nil || before.OOMKills != 0 {
		t.Fatalf("at the start: %+v, %v", before, err)
	}
	run()
	_ = cmd.Wait()
	after, err := group.Read()
	if err != nil || after.OOMKills != 1 || after.CPU <= before.CPU {
		t.Errorf("after it used all its memory: %+v, %v; before %+v", after, err, before)
	}
	must(t, h.Keep(t.Context(), func(string) bool { return false }))
	if u, err := group.Read(); !errors.Is(err, fs.ErrNotExist) || u != (cgroup.Usage{}) {
		t.Errorf("after its removal: %+v, %v", u, err)
	}
}

func TestMemoryIsTheWorkingSet(t *testing.T) {
	h := hierarchy(t)
	// It holds 8 MiB.
	cmd := exec.Command("sh", "-c", `x=$(head -c 8388608 /dev/zero | tr '\0' x); echo done; read line`)
	output, err := cmd.StdoutPipe()
	must(t, err)
	run := start(t, h, "one", cmd)
	defer run()
	// The shell may have started before it was in the group, so not all of it counts.
	if _, err := output.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if u, err := h.Group("one").Read(); err != nil || u.Memory < 1<<20 || u.Memory > 256<<20 {
		t.Errorf("got %+v, %v", u, err)
	}
}

func TestLeftoversAreEndedAndRemoved(t *testing.T) {
	h := hierarchy(t)
	loop := exec.Command("sh", "-c", "read line; while :; do sleep 1000 & sleep 0.001; done")
	start(t, h, "loop", loop)()
	frozen := exec.Command("sleep", "1000")
	start(t, h, "frozen", frozen)()
	if !h.Freeze("frozen") {
		t.Error("it is not frozen")
	}
	kept := exec.Command("cat")
	start(t, h, "kept", kept)
	// Somebody has to reap them, for until then they count.
	ended := make(chan error, 2)
	for _, cmd := range []*exec.Cmd{loop, frozen} {
		go func() { ended <- cmd.Wait() }()
	}
	must(t, h.Keep(t.Context(), func(id string) bool { return id == "kept" }))
	for range 2 {
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("it ended with %v", err)
		}
	}
	for id, want := range map[string]error{"loop": fs.ErrNotExist, "frozen": fs.ErrNotExist, "kept": nil} {
		if _, err := h.Group(id).Read(); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", id, err, want)
		}
	}
}
