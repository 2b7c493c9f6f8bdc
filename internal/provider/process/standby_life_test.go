//go:build linux

package process_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lofn"
	"lofn/internal/provider/process"
	"lofn/internal/provider/providertest"
)

func TestConformanceStandby(t *testing.T) {
	s := python(t)
	providertest.Run(t, providertest.Harness{
		Provider: func(t *testing.T, drain func(context.Context, lofn.Replica) error) lofn.Provider {
			r := newRig(t, func(c *process.Config) { c.Drain, c.Standby = drain, 2 })
			r.image("python3", s.files, s.env...)
			r.image("broken", map[string]string{"index.py": "raise SystemExit(3)\n"}, s.env...)
			// Others of the kind have run before.
			pioneer := function("pioneer", "python3")
			r.asleep(pioneer, r.deploy(pioneer)...)
			return r
		},
		Function: func(_ *testing.T, ref lofn.Ref, text string) lofn.Function {
			fn := function(ref.Name, "python3", "answer="+text)
			fn.Ref = ref
			return fn
		},
		Broken: func(_ *testing.T, ref lofn.Ref) lofn.Function { return function(ref.Name, "broken") },
		Crash: func(t *testing.T, _ lofn.Provider, r lofn.Replica) {
			if answer, err := call(t.Context(), r, "/crash", ""); err == nil {
				t.Errorf("the replica was to crash and answered %q", answer)
			}
		},
	})
}

// answer calls the function as the conformance suite does.
func (r *rig) answer(replica lofn.Replica) string {
	r.t.Helper()
	out, err := call(r.t.Context(), replica, "/", "")
	must(r.t, err)
	return out
}

func TestStandbyEndsWithItsLastFunction(t *testing.T) {
	inBoth(t, func(t *testing.T, s speech) {
		r := standbyRig(t, 2, s)
		one, other := function("one", s.interpreter), function("other", s.interpreter)
		replicas := append(r.deploy(one), r.deploy(other)...)
		eventually(t, "two interpreters to wait", func() bool { return len(onStandby(os.Getpid())) == 2 })
		r.gone(one, replicas[0])
		r.woken(other, s)
		eventually(t, "two interpreters to wait", func() bool { return len(onStandby(os.Getpid())) == 2 })
		must(t, r.Remove(t.Context(), other.Ref))
		eventually(t, "no interpreter to wait", func() bool { return len(onStandby(os.Getpid())) == 0 })
		// And with the provider, at once.
		r.deploy(one)
		eventually(t, "two interpreters to wait", func() bool { return len(onStandby(os.Getpid())) == 2 })
		must(t, r.Close(t.Context()))
		if left := onStandby(os.Getpid()); len(left) > 0 {
			t.Errorf("processes %v outlived the provider", left)
		}
	})
}

// TestStandbyIsKilled has those that wait end: functions do not notice, others
// take their places, and in the end nobody tries any more.
func TestStandbyIsKilled(t *testing.T) {
	inBoth(t, func(t *testing.T, s speech) {
		r := standbyRig(t, 1, s)
		fn := function("steady", s.interpreter, "answer=here")
		replica := r.woken(fn, s)[0]
		for range 2 {
			eventually(t, "an interpreter to wait", func() bool { return len(onStandby(os.Getpid())) == 1 })
			for _, pid := range onStandby(os.Getpid()) {
				must(t, syscall.Kill(pid, syscall.SIGKILL))
			}
			r.asleep(fn, replica)
			replica = r.deploy(fn)[0]
			if got := r.answer(replica); got != "here" {
				t.Errorf("answer %q", got)
			}
		}
		replica = r.woken(fn, s)[0]
		if _, err := call(t.Context(), replica, "/crash", ""); err == nil {
			t.Error("it was to crash")
		}
		reason := r.failed(fn)
		if !strings.Contains(reason, "exited with status 7") {
			t.Errorf("reason %q", reason)
		}
		if again := r.ready(fn, 1)[0]; again.ID != replica.ID || again.Restarts != 1 || r.answer(again) != "here" {
			t.Errorf("after the crash: %+v", again)
		}
	})
}

func TestStandbyForACrowd(t *testing.T) {
	s := python(t)
	r := standbyRig(t, 2, s)
	var all []lofn.Function
	for i := range 50 {
		fn := function(fmt.Sprintf("f%d", i), "python3", fmt.Sprintf("answer=%d", i))
		fn.Replicas = 0
		all = append(all, fn)
	}
	r.woken(function("first", "python3"), s)
	for i := range all {
		all[i].Replicas = 1
		r.ensure(all[i])
	}
	uids := make(map[string]bool)
	for i, fn := range all {
		replica := r.ready(fn, 1)[0]
		if got := r.answer(replica); got != fmt.Sprint(i) {
			t.Errorf("%s answers %q", fn.Name, got)
		}
		uids[r.eval(replica, `os.getuid()`)] = true
	}
	if os.Getuid() == 0 && !ownNamespace() && len(uids) != len(all) {
		t.Errorf("%d functions run as %d users", len(all), len(uids))
	}
}

func TestStandbyFollowsARedeployment(t *testing.T) {
	inBoth(t, func(t *testing.T, s speech) {
		r := standbyRig(t, 1, s)
		fn := function("changing", s.interpreter, "answer=1")
		for r.woken(fn, s); fn.Generation < 5; {
			fn.Generation++
			fn.Spec.Env = map[string]string{"answer": fmt.Sprint(fn.Generation)}
			if got := r.answer(r.deploy(fn)[0]); got != fn.Spec.Env["answer"] {
				t.Errorf("generation %d answers %q", fn.Generation, got)
			}
		}
	})
}

func TestStandbyHasTheLimitsOfItsFunction(t *testing.T) {
	s := python(t)
	r := standbyRig(t, 1, s)
	fn := function("hungry", "python3")
	fn.Spec.Limits = &lofn.Resources{Memory: "64Mi", CPU: "500m"}
	replica := r.woken(fn, s)[0]
	if strings.Contains(r.log("hungry"), "not enforced") {
		t.Skip("this machine has no control groups that these tests may use")
	}
	if out, err := call(t.Context(), replica, "/eval", `len(bytearray(1 << 30))`); err == nil {
		t.Errorf("a function over its limit answered %q", out)
	}
	if reason := r.failed(fn); !strings.Contains(reason, "over its memory limit of 64Mi") {
		t.Errorf("reason %q", reason)
	}
}

// TestStandbyIsNotForEverybody has functions whose variables act when an
// interpreter starts.
func TestStandbyIsNotForEverybody(t *testing.T) {
	inBoth(t, func(t *testing.T, s speech) {
		r := standbyRig(t, 1, s)
		r.woken(function("usual", s.interpreter), s)
		for _, variable := range map[string][]string{
			"python3": {"PYTHONPATH=/home/app/function", "PYTHONWARNINGS=error::BytesWarning", "LD_LIBRARY_PATH=/tmp", "fprocess=python3 -u index.py"},
			"node":    {"NODE_OPTIONS=--no-warnings", "NODE_PATH=/home/app", "UV_THREADPOOL_SIZE=2", "fprocess=node --no-warnings index.js"},
		}[s.interpreter] {
			fn := function("special", s.interpreter, variable, "answer=special")
			for range 2 {
				replica := r.deploy(fn)[0]
				if r.waited(replica, s) || r.answer(replica) != "special" {
					t.Errorf("with %s it was on standby", variable)
				}
				r.asleep(fn, replica)
			}
			must(t, r.Remove(t.Context(), fn.Ref))
		}
	})
}

// TestStandbyIsOfTheInterpreterThatIsThereNow replaces an interpreter.
func TestStandbyIsOfTheInterpreterThatIsThereNow(t *testing.T) {
	s, base := python(t), visibleFolder(t)
	real, err := filepath.EvalSymlinks("/usr/bin/python3")
	if err != nil {
		t.Skip("needs /usr/bin/python3")
	}
	install := func(name string) {
		content, err := os.ReadFile(real)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(base, name), content, 0o755))
		must(t, os.Rename(filepath.Join(base, name), filepath.Join(base, "python3")))
	}
	install("old")
	r := standbyRig(t, 1, s)
	fn := function("pinned", "python3", "fprocess="+base+"/python3 index.py", "answer=here")
	replicas := r.woken(fn, s)
	eventually(t, "an interpreter to wait", func() bool { return len(onStandby(os.Getpid())) == 1 })
	install("new")
	r.asleep(fn, replicas...)
	if got := r.eval(r.deploy(fn)[0], `os.readlink("/proc/self/exe")`); got != base+"/python3" {
		t.Errorf("it runs %s", got)
	}
	if replica := r.woken(fn, s)[0]; r.eval(replica, `os.readlink("/proc/self/exe")`) != base+"/python3" {
		t.Error("what waits is still the old interpreter")
	}
}

// TestStandbyFailsQuietly has an interpreter that cannot wait.
func TestStandbyFailsQuietly(t *testing.T) {
	s, base := python(t), visibleFolder(t)
	must(t, os.WriteFile(filepath.Join(base, "python3"), []byte("#!/bin/sh\nexec /usr/bin/python3 \"$@\"\n"), 0o755))
	platform := new(logBuffer)
	r := newRig(t, func(c *process.Config) { c.Standby, c.Log = 1, platform.logger() })
	r.image("python3", s.files, s.env...)
	fn := function("wrapped", "python3", "fprocess="+base+"/python3 index.py", "answer=here")
	replica := r.deploy(fn)[0]
	eventually(t, "the platform to say why", func() bool { return strings.Contains(platform.String(), "is not the interpreter itself") })
	for range 3 {
		r.asleep(fn, replica)
		replica = r.deploy(fn)[0]
		if got := r.answer(replica); got != "here" {
			t.Errorf("answer %q", got)
		}
	}
	if n := strings.Count(platform.String(), "not the interpreter itself"); n != 1 {
		t.Errorf("it was said %d times", n)
	}
}

// TestStandbyNeedsIsolation: without it, what a replica leaves behind is found
// by its environment, which must be that of its start.
func TestStandbyNeedsIsolation(t *testing.T) {
	if os.Getenv("LOFN_TEST_PLAIN") == "" {
		t.Skip("needs a machine that permits no isolation: TestAsOrdinaryUser makes one")
	}
	s := python(t)
	r := newRig(t, func(c *process.Config) { c.Standby = 1 })
	r.image("python3", s.files, s.env...)
	fn := function("plain", "python3", "answer=here")
	for range 3 {
		replica := r.deploy(fn)[0]
		if r.waited(replica, s) || r.answer(replica) != "here" {
			t.Error("it was on standby")
		}
		r.asleep(fn, replica)
	}
}
