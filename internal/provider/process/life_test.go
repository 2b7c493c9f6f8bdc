//go:build linux

package process_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lofn"
	"lofn/internal/provider/process"
)

func TestReasons(t *testing.T) {
	r := newRig(t)
	r.self()
	r.image("plain", map[string]string{"notes.txt": "no program\n", "lost": "#!/no/such/interpreter\n"}, "mode=http")
	must(t, os.Chmod(filepath.Join(imageApp(t, r, "plain"), "notes.txt"), 0o644))
	for _, test := range []struct {
		name string
		fn   lofn.Function
		want []string
	}{
		{"exits at once", function("exits", "self", "act=exit"), []string{"exited with status 3", "fatal: no luck today"}},
		{"never listens", function("silent", "self", "act=silent", "ready_timeout=1"), []string{"did not listen on $LOFN_SOCKET or port ", "within 1s"}},
		{"no such program", function("nothing", "plain", "fprocess=no-such-program --flag"), []string{`"no-such-program --flag"`, "no program", "PATH", "install no-such-program"}},
		{"no such file", function("nofile", "plain", "fprocess=./absent"), []string{"the image has no file ./absent"}},
		{"not executable", function("notes", "plain", "fprocess=./notes.txt"), []string{"./notes.txt is not executable"}},
		{"no interpreter", function("lost", "plain", "fprocess=./lost"), []string{"interpreter"}},
		{"no such image", function("imageless", "absent"), []string{"absent does not exist"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r.ensure(test.fn)
			reason := r.failed(test.fn)
			for _, want := range test.want {
				if !strings.Contains(reason, want) {
					t.Errorf("reason %q does not say %q", reason, want)
				}
			}
			if strings.Contains(reason, "\n") {
				t.Errorf("reason %q has more than one line", reason)
			}
		})
	}
	if log := r.log("exits"); !strings.Contains(log, "first line\nfatal: no luck today\n") {
		t.Errorf("log of the function that exits: %q", log)
	}
}

func imageApp(t *testing.T, r *rig, name string) string {
	image, err := r.images.Resolve(t.Context(), name)
	must(t, err)
	return filepath.Join(image.Root, lofn.AppDir)
}

func TestNothingOutlivesAReplica(t *testing.T) {
	r := newRig(t)
	r.self()
	fn := function("parent", "self")
	replica := r.deploy(fn)[0]
	r.run(replica, `sleep 1001 >/dev/null 2>&1 &
setsid sleep 1002 >/dev/null 2>&1 &
(setsid sh -c 'sleep 1003 & sleep 1004' >/dev/null 2>&1 &) &`)
	eventually(t, "the function's children to run", func() bool { return len(processes(replica.ID)) >= 6 })
	r.gone(fn, replica)
	if left := processes(replica.ID); len(left) > 0 {
		t.Errorf("processes %v outlived their replica", left)
	}
}

func TestNothingOutlivesACall(t *testing.T) {
	r := newRig(t)
	r.isolated()
	r.image("forks", map[string]string{"go.sh": "setsid sleep 1005 >/dev/null 2>&1 &\n(setsid sh -c 'sleep 1006 & wait' >/dev/null 2>&1 &) &\ncat\n"})
	replica := r.deploy(function("caller", "forks", "mode=streaming", "fprocess=/bin/sh go.sh"))[0]
	out, err := call(t.Context(), replica, "/", "echo")
	must(t, err)
	if out != "echo" {
		t.Errorf("answer %q", out)
	}
	eventually(t, "the daemons of the call to end", func() bool { return len(processes(replica.ID)) == 0 })
}

// Processes that wait for a call are like those that have one: they see the
// newest secrets, and end with their replica.
func TestProcessesAhead(t *testing.T) {
	r := newRig(t)
	r.isolated()
	r.image("ahead", map[string]string{"go.sh": "secret=$(cat " + lofn.SecretsPath + "/word); read line; echo $line $secret\n"})
	r.setSecret("word", "old")
	fn := function("ahead", "ahead", "mode=streaming", "fprocess=/bin/sh go.sh", "prestart=2")
	fn.Spec.Secrets = []string{"word"}
	replica := r.deploy(fn)[0]
	for _, word := range []string{"old", "new"} {
		r.setSecret("word", word)
		must(t, r.SyncSecret(t.Context(), lofn.DefaultNamespace, "word"))
		for range 2 {
			eventually(t, "a process to wait", func() bool { return len(processes(replica.ID)) == 1 })
			out, err := call(t.Context(), replica, "/", "the\n")
			must(t, err)
			if out != "the "+word+"\n" {
				t.Errorf("answer %q", out)
			}
		}
	}
	eventually(t, "a process to wait", func() bool { return len(processes(replica.ID)) == 1 })
	r.gone(fn, replica)
	if left := processes(replica.ID); len(left) > 0 {
		t.Errorf("processes %v outlived their replica", left)
	}
}

func TestCancelledCallEndsItsProcesses(t *testing.T) {
	r := newRig(t)
	r.image("slow", map[string]string{"go.sh": "sleep 1007 &\nsleep 1008\n"})
	replica := r.deploy(function("slow", "slow", "mode=streaming", "fprocess=/bin/sh go.sh"))[0]
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		call(ctx, replica, "/", "")
	}()
	eventually(t, "the call's processes to run", func() bool { return len(processes(replica.ID)) == 3 })
	cancel()
	<-done
	eventually(t, "the call's processes to end", func() bool { return len(processes(replica.ID)) == 0 })
}

func TestStubbornFunctionIsKilled(t *testing.T) {
	r := newRig(t)
	r.self()
	fn := function("stubborn", "self", "act=stubborn", "exec_timeout=1")
	replica := r.deploy(fn)[0]
	r.gone(fn, replica)
	if left := processes(replica.ID); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

func TestFunctionMayListenOnPort(t *testing.T) {
	r := newRig(t)
	r.self()
	fn := function("ported", "self", "act=port", "answer=over TCP")
	fn.Replicas = 3
	addresses := make(map[string]bool)
	for _, replica := range r.deploy(fn) {
		addresses[replica.Network+" "+replica.Address] = true
		if out, err := call(t.Context(), replica, "/", ""); err != nil || out != "over TCP" {
			t.Errorf("%s: %q, %v", replica.Address, out, err)
		}
		if host, _, err := net.SplitHostPort(replica.Address); err != nil || host != "127.0.0.1" {
			t.Errorf("address %q", replica.Address)
		}
	}
	if len(addresses) != 3 {
		t.Errorf("addresses: %v", addresses)
	}
}

func TestReplicasSayWhatTheirStartTook(t *testing.T) {
	var mu sync.Mutex
	started := make(map[string]lofn.Startup)
	r := newRig(t, func(c *process.Config) {
		c.Started = func(r lofn.Replica) {
			mu.Lock()
			defer mu.Unlock()
			started[r.Function.Name] = r.Startup
		}
	})
	r.self()
	for name, parts := range map[string][]string{
		"server": {"prepare", "exec", "listen", "accept"},
		"ported": {"prepare", "exec", "listen", "accept"},
		"forks":  {"prepare"},
	} {
		fn := function(name, "self")
		switch name {
		case "ported":
			fn = function(name, "self", "act=port")
		case "forks":
			fn = function(name, "self", "mode=streaming", "fprocess=cat")
		}
		replica := r.deploy(fn)[0]
		known := maps.Collect(replica.Startup.Parts())
		delete(known, "wait") // which may be too short to be measured
		if got := slices.Sorted(maps.Keys(known)); !slices.Equal(got, slices.Sorted(slices.Values(parts))) {
			t.Errorf("%s: %v, want %v", name, known, parts)
		}
		eventually(t, "the hook to be told", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return started[name] == replica.Startup
		})
	}
}

// A program that takes its time between the two calls by which a socket
// appears and listens is not ready before the second, and is found by the
// same address if it had another name first.
func TestSocketsThatListenLate(t *testing.T) {
	r := newRig(t)
	r.self()
	for _, act := range []string{"late", "renamed"} {
		replica := r.deploy(function(act, "self", "act="+act, "answer=at last"))[0]
		if out, err := call(t.Context(), replica, "/", ""); err != nil || out != "at last" {
			t.Errorf("%s: %q, %v", act, out, err)
		}
	}
}

func TestForeignListenerIsNotTakenForTheFunction(t *testing.T) {
	r := newRig(t)
	r.self()
	// Somebody else listens where the image says that its function does.
	foreign, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer foreign.Close()
	fn := function("usurped", "self", "act=silent", "ready_timeout=1", "upstream_url=http://"+foreign.Addr().String())
	r.ensure(fn)
	if reason := r.failed(fn); !strings.Contains(reason, "did not listen") {
		t.Errorf("reason %q", reason)
	}
}

func TestProvidersShareAFolder(t *testing.T) {
	runDir := filepath.Join(t.TempDir(), "run")
	var replicas []lofn.Replica
	start := func() *rig {
		r := newRig(t, func(c *process.Config) { c.RunDir = runDir })
		r.self()
		replicas = append(replicas, r.deploy(function("server", "self", "answer=here"))...)
		replicas = append(replicas, r.deploy(function("forks", "self", "mode=serializing", "fprocess=echo -n here"))...)
		return r
	}
	answer := func() {
		t.Helper()
		for _, replica := range replicas {
			if out, err := call(t.Context(), replica, "/", ""); err != nil || out != "here" {
				t.Errorf("%s: %q, %v", replica.ID, out, err)
			}
		}
	}
	start()
	answer()
	second := start()
	answer()
	must(t, second.Close(t.Context()))
	replicas = replicas[:2]
	answer()
	start()
	answer()
	entries, err := os.ReadDir(runDir)
	must(t, err)
	if len(entries) != 2 {
		t.Errorf("two providers have the folders %v", entries)
	}
}

func TestLongRunDir(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	r := newRig(t, func(c *process.Config) { c.RunDir = long })
	r.self()
	for _, fn := range []lofn.Function{
		function("server", "self", "answer=far"),
		function("forks", "self", "mode=serializing", "fprocess=echo -n far"),
	} {
		if out, err := call(t.Context(), r.deploy(fn)[0], "/", ""); err != nil || out != "far" {
			t.Errorf("%s: %q, %v", fn.Name, out, err)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	r := newRig(t)
	r.isolated()
	fn := function("hungry", "self")
	fn.Spec.Limits = &lofn.Resources{Memory: "64Mi", CPU: "500m"}
	replica := r.deploy(fn)[0]
	if strings.Contains(r.log("hungry"), "limits") {
		if !strings.Contains(r.log("hungry"), "not enforced") {
			t.Errorf("log: %q", r.log("hungry"))
		}
		t.Skip("this machine has no control groups that these tests may use")
	}
	usage, err := r.Usage(t.Context(), fn.Ref)
	if err != nil || usage.MemoryBytes < 1<<20 {
		t.Errorf("usage %+v, %v", usage, err)
	}
	if out, err := call(t.Context(), replica, "/eat", ""); err == nil {
		t.Errorf("a function over its limit answered %q", out)
	}
	if reason := r.failed(fn); !strings.Contains(reason, "over its memory limit of 64Mi") {
		t.Errorf("reason %q", reason)
	}
	r.ready(fn, 1)

	forks := function("gluttons", "self", "mode=serializing", "act=eat")
	forks.Spec.Limits = &lofn.Resources{Memory: "48Mi"}
	replica = r.deploy(forks)[0]
	if out, err := call(t.Context(), replica, "/", ""); err == nil {
		t.Errorf("a process over its limit answered %q", out)
	}
	eventually(t, "the log to tell", func() bool {
		return strings.Contains(r.log("gluttons"), "over its memory limit of 48Mi")
	})
}

func TestResolve(t *testing.T) {
	r := newRig(t)
	r.self()
	change := func(name string, f func(*lofn.Image)) {
		image, _ := r.images.Resolve(t.Context(), "self")
		f(&image)
		r.images.put(name, image)
	}
	change("container", func(i *lofn.Image) { i.Labels = nil })
	change("foreign", func(i *lofn.Image) { i.Architecture = "s390x" })
	change("portable", func(i *lofn.Image) {
		i.Architecture = "s390x"
		i.Labels = map[string]string{lofn.LabelRuntime: lofn.RuntimeHost, lofn.LabelArchitecture: lofn.ArchitectureAny}
	})
	for image, want := range map[string]string{
		"self": "", "portable": "",
		"absent":    "absent",
		"container": "container provider",
		"foreign":   "s390x",
	} {
		got, err := r.Resolve(t.Context(), function("any", image))
		if want == "" && (err != nil || !strings.HasPrefix(got.Digest, "sha256:")) {
			t.Errorf("%s: digest %q, error %v", image, got.Digest, err)
		}
		if want != "" && (lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v", image, err)
		}
	}
	change("limited", func(i *lofn.Image) { i.Env = append(i.Env, "max_inflight=7", "exec_timeout=9s", "write_timeout=8s") })
	if got, err := r.Resolve(t.Context(), function("any", "limited")); err != nil || !maps.Equal(got.Defaults, map[string]string{"max_inflight": "7", "exec_timeout": "9s"}) {
		t.Errorf("of the image's environment it took %v, error %v", got.Defaults, err)
	}
	for _, env := range []string{"mode=afterburn", "exec_timeout=soon", "ready_timeout=0", "max_inflight=few"} {
		name, _, _ := strings.Cut(env, "=")
		if _, err := r.Resolve(t.Context(), function("any", "self", env)); lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", env, err)
		}
	}
}

func TestUsage(t *testing.T) {
	r := newRig(t)
	r.self()
	fn := function("worker", "self", "exec_timeout=1")
	replica := r.deploy(fn)[0]
	usage, err := r.Usage(t.Context(), fn.Ref)
	if err != nil || usage.MemoryBytes < 1<<20 {
		t.Errorf("usage of an idle replica: %+v, %v", usage, err)
	}
	go call(t.Context(), replica, "/run", "while :; do :; done")
	eventually(t, "the usage to rise", func() bool {
		usage, err := r.Usage(t.Context(), fn.Ref)
		must(t, err)
		return usage.MilliCPU > 50
	})
	if usage, err := r.Usage(t.Context(), lofn.Ref{Namespace: "no", Name: "such"}); err != nil || usage != (lofn.Usage{}) {
		t.Errorf("usage of nothing: %+v, %v", usage, err)
	}
}

func TestFloodAndLongLineReachTheLog(t *testing.T) {
	r := newRig(t)
	r.self()
	r.deploy(function("loud", "self", "act=loud"))
	eventually(t, "all output to arrive", func() bool {
		log := r.log("loud")
		return strings.HasSuffix(log, "the end\n") && len(log) > 3_000_000
	})
}

func TestKilledFromOutside(t *testing.T) {
	r := newRig(t)
	r.self()
	fn := function("victim", "self")
	replica := r.deploy(fn)[0]
	for _, pid := range processes(replica.ID) {
		must(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	if reason := r.failed(fn); !strings.Contains(reason, "killed by signal 9") {
		t.Errorf("reason %q", reason)
	}
	if again := r.ready(fn, 1)[0]; again.ID != replica.ID || again.Restarts != 1 {
		t.Errorf("after the restart: %+v", again)
	}
}

func TestProcessesAreBounded(t *testing.T) {
	if os.Getuid() != 0 || ownNamespace() {
		t.Skip("needs root: an ordinary user's functions share the user's own bound")
	}
	r := newRig(t)
	r.self()
	replica := r.deploy(function("bomb", "self"))[0]
	if got := r.run(replica, "grep 'Max processes' /proc/self/limits"); strings.Contains(got, "unlimited") {
		t.Errorf("limits: %q", got)
	}
	if got := r.run(replica, "cat /proc/self/oom_score_adj"); got != "500" {
		t.Errorf("oom_score_adj: %q", got)
	}
}

func TestNothingLeaksWithReplicas(t *testing.T) {
	r := newRig(t)
	r.isolated()
	r.setSecret("key", "value")
	r.image("forks", nil, "mode=serializing", "fprocess=cat "+lofn.SecretsPath+"/key")
	cycle := func() {
		for _, image := range []string{"self", "forks"} {
			fn := function("passing", image)
			fn.Spec.Secrets = []string{"key"}
			fn.Replicas = 3
			replicas := r.deploy(fn)
			if image == "forks" {
				if out, err := call(t.Context(), replicas[0], "/", ""); out != "value" {
					t.Errorf("answer %q, %v", out, err)
				}
			}
			r.gone(fn, replicas...)
		}
	}
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	cycle()
	before := open()
	for range 5 {
		cycle()
	}
	eventually(t, "the descriptors of gone replicas to be closed", func() bool { return open() <= before })
}

func TestCloseFinishesInTime(t *testing.T) {
	block := make(chan struct{})
	defer close(block)
	r := newRig(t, func(c *process.Config) {
		c.Drain = func(ctx context.Context, _ lofn.Replica) error {
			select {
			case <-block:
			case <-ctx.Done():
			}
			return ctx.Err()
		}
	})
	r.self()
	replica := r.deploy(function("blocked", "self"))[0]
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Fleet.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: %v", err)
	}
	if left := processes(replica.ID); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	if err := r.Ensure(t.Context(), function("late", "self")); lofn.CodeOf(err) != lofn.Unavailable {
		t.Errorf("Ensure after Close: %v", err)
	}
}
