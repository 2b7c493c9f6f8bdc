package containertest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lofn"
	"lofn/internal/provider/containerd/containerdtest"
)

// twoOfThem deploys fn in two containers, and returns their processes.
func (p *platform) twoOfThem() (pids []int) {
	p.Helper()
	p.deploy("fn", p.push("fn:1", containerdtest.Answer(p, "ANSWER=one")))
	p.scale("fn", 2)
	p.serves("fn", 2)
	return p.runs(2)
}

// TestContainersOutliveThePlatform kills it in the middle of calls, and stops it
// in order.
func TestContainersOutliveThePlatform(t *testing.T) {
	atLength(t)
	p := serving(t)
	before := p.twoOfThem()
	for _, end := range []func(){p.kill, func() {
		if code := p.stop(); code != 0 {
			t.Errorf("the stop ended with %d", code)
		}
	}} {
		load := startLoad(p, "fn", "one")
		load.mayFail.Store(true)
		end()
		p.same(before)
		load.end()
		p.start()
		p.call("fn", "one")
		p.serves("fn", 2)
		p.same(before)
	}
	// What containers wrote while nobody read it is in the log.
	p.must(200, "POST", "/function/fn/print", "still heard\n")
	p.Until("the log goes on", func() bool { return strings.Contains(p.logs("fn"), "still heard") })
}

// TestWokenContainersOutliveThePlatform kills it when it has a container more
// than somebody has asked for: as many as a call needed.
func TestWokenContainersOutliveThePlatform(t *testing.T) {
	p := serving(t)
	p.deploy("fn", p.push("fn:1", containerdtest.Answer(t, "ANSWER=one")))
	p.scale("fn", 0)
	p.runs(0)
	p.call("fn", "one")
	woken := p.runs(1)
	p.kill()
	p.start()
	p.call("fn", "one")
	p.serves("fn", 1)
	p.same(woken)
}

// TestNothingOfTheRemovedComesBack has the records of a function lost while its
// containers run on.
func TestNothingOfTheRemovedComesBack(t *testing.T) {
	atLength(t)
	p := serving(t)
	early := filepath.Join(tempDir(t), "early")
	p.deploy("kept", p.push("fn:1", containerdtest.Answer(t, "ANSWER=kept")))
	kept := p.runs(1)
	p.stop()
	// A backup from before the function was deployed.
	if said, err := exec.Command("cp", "-a", p.data, early).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	p.start()
	p.deploy("removed", "fn:1")
	p.runs(2)
	p.kill()
	if err := errors.Join(os.RemoveAll(p.data), os.Rename(early, p.data)); err != nil {
		t.Fatal(err)
	}
	p.start()
	p.call("kept", "kept")
	p.must(404, "POST", "/function/removed", "")
	p.same(kept)
}

// TestUpgradesKeepContainers upgrades twice while calls are made.
func TestUpgradesKeepContainers(t *testing.T) {
	atLength(t)
	p := serving(t)
	before := p.twoOfThem()
	load := startLoad(p, "fn", "one")
	for range 2 {
		p.upgrade()
		load.more(50)
		p.same(before)
	}
	p.scale("fn", 3)
	p.serves("fn", 3)
	load.end()
	p.call("fn/get?http://gateway.openfaas:8080/function/fn", "one")
}

// TestContainerdIsKilled has containerd away for a while, as in an upgrade of
// its package.
func TestContainerdIsKilled(t *testing.T) {
	atLength(t)
	p := serving(t)
	before := p.twoOfThem()
	load := startLoad(p, "fn", "one")
	p.Kill()
	load.more(50)
	// What is asked of the platform meanwhile is done later, or refused in words.
	code, answer := p.request("POST", "/system/functions", deployment("new", "fn:1"))
	if code != 202 && (code < 500 || !strings.Contains(answer, "containerd")) {
		t.Errorf("a deployment without containerd: %d %s", code, answer)
	}
	p.scale("fn", 3)
	p.Until("describe says what is in the way", func() bool {
		for _, r := range p.status("fn").Instances {
			if strings.Contains(r.Reason, "containerd") {
				return true
			}
		}
		return false
	})
	load.more(50)
	p.Daemon.Start()
	if code != 202 {
		p.deploy("new", "fn:1")
	}
	p.serves("fn", 3)
	p.serves("new", 1)
	p.call("new", "one")
	after := p.runs(4)
	for _, pid := range before {
		if isGone(pid) {
			t.Errorf("the container with process %d is gone, there are %v", pid, after)
		}
	}
	load.end()
	// An exit is still noticed.
	p.must(202, "DELETE", "/system/functions", `{"functionName":"new"}`)
	p.runs(3)
}

// TestLifeAfterAReboot ends everything as a power cut does.
func TestLifeAfterAReboot(t *testing.T) {
	atLength(t)
	p := serving(t)
	p.twoOfThem()
	p.deploy("beside", p.push("beside:1", hostImage(t, "ANSWER=process")))
	p.must(202, "POST", "/system/functions", deployment("idle", "fn:1", func(d *lofn.Deployment) { d.Labels["com.openfaas.scale.zero"] = "true" }))
	p.scale("idle", 0)
	p.kill()
	p.Crash("/run/lofn/" + p.id())
	p.forgetRun()
	p.Daemon.Start()
	p.start()
	p.serves("fn", 2)
	p.call("fn", "one")
	p.call("fn/get?http://gateway.openfaas:8080/function/beside", "process")
	p.call("idle", "one")
	p.runs(3)
}

// id is what the platform's things on this machine are named by.
func (p *platform) id() string {
	p.Helper()
	text, err := os.ReadFile(filepath.Join(p.data, "platform-id"))
	if err != nil {
		p.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// forgetRun empties what a reboot empties.
func (p *platform) forgetRun() {
	p.Helper()
	if err := os.RemoveAll("/run/lofn/" + p.id()); err != nil {
		p.Fatal(err)
	}
}

// TestKilledPartsAreReplaced kills a container's shim, and its first process.
func TestKilledPartsAreReplaced(t *testing.T) {
	atLength(t)
	p := serving(t)
	p.deploy("fn", p.push("fn:1", containerdtest.Answer(t, "ANSWER=one")))
	for part, pid := range map[string]func(int) int{
		"shim":          func(pid int) int { return containerdtest.Parent(t, pid) },
		"first process": func(pid int) int { return pid },
	} {
		before, restarts := p.runs(1)[0], p.status("fn").Instances[0].Restarts
		if err := unix.Kill(pid(before), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		p.Until("it was started again after its "+part+" was killed", func() bool {
			s := p.status("fn")
			return len(s.Instances) == 1 && s.Instances[0].State == lofn.Ready && s.Instances[0].Restarts > restarts
		})
		p.call("fn", "one")
		if !isGone(before) {
			t.Errorf("after its %s was killed, the container runs on", part)
		}
	}
}
