package app_test

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestAnOldProcesssCallsKeepItsContainers updates a function right after an
// upgrade, while a call is under way in the process before.
func TestAnOldProcesssCallsKeepItsContainers(t *testing.T) {
	p := newPlatform(t)
	marker := p.contained()
	p.replaceable()
	p.start()
	p.deployContained(marker)
	before := p.pids()
	long := p.begin()
	first := p.upgrade()
	p.must(202, "PUT", "/system/functions", deployment("fn", "whole:latest", "v2", marker))
	p.eventually("all but one of the old containers are gone", func() bool {
		now := p.pids()
		old := slices.DeleteFunc(slices.Clone(before), func(pid int) bool { return !slices.Contains(now, pid) })
		return len(now) == 3 && len(old) == 1
	})
	if got := p.must(200, "POST", "/function/fn", ""); got != "v2" {
		t.Errorf("after the update it answers %q", got)
	}
	long.finish()
	p.eventually("the old containers are gone", func() bool { return len(p.pids()) == 2 })
	p.eventually("the process before is gone", func() bool { return isGone(first) })
}

// TestColdCallsDuringAnUpgrade calls a function at zero while a new process has
// the containers and does not serve yet.
func TestColdCallsDuringAnUpgrade(t *testing.T) {
	p := newPlatform(t)
	marker := p.contained()
	p.replaceable()
	p.start()
	p.deployContained(marker)
	p.must(202, "POST", "/system/scale-function/fn", `{"replicas":0}`)
	p.eventually("no container is left", func() bool { return len(p.pids()) == 0 })
	p.push("host:latest", nil)
	p.must(202, "POST", "/system/functions", deployment("host", "host:latest", "v1", marker))
	p.must(200, "POST", "/function/host", "")

	next := p.stall()
	if got := p.must(200, "POST", "/function/fn", " cold"); got != "v1 cold" {
		t.Errorf("it answered %q", got)
	}
	if !strings.Contains(p.must(200, "POST", "/function/fn", " warm"), "warm") {
		t.Error("the second call was not answered")
	}
	if err := syscall.Kill(next, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.eventually("the upgrade failed", func() bool { return strings.Contains(p.stderr.String(), "the upgrade failed") })
	if got := p.must(200, "POST", "/function/fn", " again"); got != "v1 again" {
		t.Errorf("when the new process was gone it answered %q", got)
	}
	p.install(os.Args[0])
	p.upgrade()
	if got := p.must(200, "POST", "/function/fn", " after"); got != "v1 after" {
		t.Errorf("after an upgrade it answered %q", got)
	}
}
