package containertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lofn"
	"lofn/internal/provider/containerd/containerdtest"
)

// breakable is a runc in front of the real one. Once, if its file says so, it is
// killed in the middle of a command.
const breakable = `#!/bin/sh
verb=$(cat %[1]s 2>/dev/null)
case " $* " in
*" ${verb:-none} "*)
	rm %[1]s
	if [ $verb = create ]; then
		%[2]s "$@" &
		# In the middle: when it has a child, which shall become the container.
		until [ -n "$(cat /proc/$!/task/*/children)" ]; do :; done
		kill -9 $!
	fi
	kill -9 $$
esac
exec %[2]s "$@"
`

// TestRuncIsKilled has runc end in the middle of a start.
func TestRuncIsKilled(t *testing.T) {
	containerdtest.Require(t)
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Fatal(err)
	}
	dir := tempDir(t)
	armed := filepath.Join(dir, "armed")
	if err := os.WriteFile(filepath.Join(dir, "runc"), fmt.Appendf(nil, breakable, armed, runc), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	p := serving(t)
	image := p.push("fn:1", containerdtest.Answer(t, "ANSWER=one"))
	for _, verb := range []string{"create", "start"} {
		if err := os.WriteFile(armed, []byte(verb), 0o600); err != nil {
			t.Fatal(err)
		}
		p.deploy("fn", image)
		if _, err := os.Stat(armed); err == nil {
			t.Errorf("runc was not killed when it was to %s", verb)
		}
		if s := p.status("fn"); s.Instances[0].Restarts == 0 || s.Instances[0].Reason == "" {
			t.Errorf("describe does not tell of the failed %s: %s", verb, text(s))
		}
		p.call("fn", "one")
		p.runs(1)
		p.must(202, "DELETE", "/system/functions", `{"functionName":"fn"}`)
		p.Until("nothing is left of the function", func() bool { return len(p.records()) == 0 })
	}
}

// TestAFullDiskDuringAPull has no room for an image, and then has.
func TestAFullDiskDuringAPull(t *testing.T) {
	containerdtest.Require(t)
	dir := tempDir(t)
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	})
	p := installedOn(t, containerdtest.StartIn(t, dir))
	p.start()
	image := p.push("fn:1", containerdtest.Answer(t, "ANSWER=one"))
	const full = "there is no space on the disk of containerd's folder"
	code, answer := p.request("POST", "/system/functions", deployment("fn", image))
	if code != 202 && (code != 507 || !strings.Contains(answer, full)) {
		t.Fatalf("a deployment without room: %d %s", code, answer)
	}
	p.Until("describe says that the disk is full", func() bool {
		for _, r := range p.status("fn").Instances {
			if r.State == lofn.Failed && strings.Contains(r.Reason, full) {
				return true
			}
		}
		return false
	})
	if logs := p.logs("fn"); !strings.Contains(logs, full) {
		t.Errorf("the log does not say that the disk is full:\n%s", logs)
	}
	if err := unix.Mount("", root, "", unix.MS_REMOUNT, "size=200m"); err != nil {
		t.Fatal(err)
	}
	p.serves("fn", 1)
	p.call("fn", "one")
}
