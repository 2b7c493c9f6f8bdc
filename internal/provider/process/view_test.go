//go:build linux

package process_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"lofn"
	"lofn/internal/provider/process"
)

// isolated skips the test where the machine permits no isolation.
func (r *rig) isolated() {
	r.t.Helper()
	r.self()
	fn := function("probe", "self")
	r.ensure(fn)
	if r.run(r.ready(fn, 1)[0], "test -d "+lofn.SecretsPath) != "" {
		r.t.Skip("this machine does not permit user namespaces")
	}
}

// run executes a shell script in the replica and returns what it printed.
func (r *rig) run(replica lofn.Replica, script string) string {
	r.t.Helper()
	out, err := call(r.t.Context(), replica, "/run", script)
	must(r.t, err)
	return strings.TrimSpace(out)
}

// deploy ensures the function and returns its ready replicas.
func (r *rig) deploy(fn lofn.Function) []lofn.Replica {
	r.t.Helper()
	r.ensure(fn)
	return r.ready(fn, fn.Replicas)
}

func TestSecretsAreFilesThatFollowChanges(t *testing.T) {
	r := newRig(t)
	r.isolated()
	binary := "line\n\x00\xff\r\n no newline at the end "
	r.setSecret("first", binary)
	r.setSecret("second.key", "")
	fn := function("confidant", "self")
	fn.Spec.Secrets = []string{"first", "second.key"}
	replica := r.deploy(fn)[0]

	out, err := call(t.Context(), replica, "/run", "cat "+lofn.SecretsPath+"/first")
	must(t, err)
	if out != binary {
		t.Errorf("the secret is %q, want %q", out, binary)
	}
	if got := r.run(replica, "ls -A "+lofn.SecretsPath); got != "first\nsecond.key" {
		t.Errorf("files: %q", got)
	}
	if got := r.run(replica, "echo x >"+lofn.SecretsPath+"/first; echo x >"+lofn.SecretsPath+"/third"); strings.Count(got, "Read-only") != 2 {
		t.Errorf("the folder of the secrets is not read-only: %q", got)
	}

	r.setSecret("first", "changed")
	must(t, r.SyncSecret(t.Context(), lofn.DefaultNamespace, "first"))
	if got := r.run(replica, "cat "+lofn.SecretsPath+"/first"); got != "changed" {
		t.Errorf("after the change the secret is %q", got)
	}
	if got := r.run(replica, "ls -A "+lofn.SecretsPath); got != "first\nsecond.key" {
		t.Errorf("files after the change: %q", got)
	}
	must(t, r.SyncSecret(t.Context(), lofn.DefaultNamespace, "unknown"))
	other := r.deploy(function("stranger", "self"))[0]
	if got := r.run(other, "ls -A "+lofn.SecretsPath); got != "" {
		t.Errorf("a function without secrets sees %q", got)
	}
}

func TestMissingSecretIsNamedAndWaitedFor(t *testing.T) {
	r := newRig(t)
	r.isolated()
	fn := function("waiting", "self")
	fn.Spec.Secrets = []string{"later"}
	r.ensure(fn)
	if reason := r.failed(fn); !strings.Contains(reason, `"later"`) || !strings.Contains(reason, lofn.DefaultNamespace) {
		t.Errorf("reason: %q", reason)
	}
	r.setSecret("later", "here")
	must(t, r.SyncSecret(t.Context(), lofn.DefaultNamespace, "later"))
	if got := r.run(r.ready(fn, 1)[0], "cat "+lofn.SecretsPath+"/later"); got != "here" {
		t.Errorf("the secret is %q", got)
	}
}

func TestTemporaryFoldersArePrivate(t *testing.T) {
	r := newRig(t, func(c *process.Config) { c.TmpBytes = 1 << 20 })
	r.isolated()
	outside, err := os.CreateTemp("", "outside")
	must(t, err)
	defer os.Remove(outside.Name())
	fn := function("scratch", "self")
	fn.Replicas = 2
	two := r.deploy(fn)
	for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm"} {
		if got := r.run(two[0], "ls -A "+dir); got != "" {
			t.Errorf("%s is not empty: %q", dir, got)
		}
		if got := r.run(two[0], "echo mine >"+dir+"/lofn-private && cat "+dir+"/lofn-private"); got != "mine" {
			t.Errorf("%s cannot be written: %q", dir, got)
		}
		if got := r.run(two[1], "ls -A "+dir); got != "" {
			t.Errorf("%s is shared with another replica: %q", dir, got)
		}
		if _, err := os.Stat(filepath.Join(dir, "lofn-private")); err == nil {
			t.Errorf("%s is shared with the machine", dir)
		}
	}
	if got := r.run(two[0], "head -c 2000000 /dev/zero >/tmp/big"); !strings.Contains(got, "No space left") {
		t.Errorf("/tmp has no bound: %q", got)
	}
	if got := r.run(two[1], "head -c 500000 /dev/zero >/tmp/fits && echo ok"); got != "ok" {
		t.Errorf("another replica's /tmp is full as well: %q", got)
	}
}

func TestImageFilesAreReadOnlyAndOthersHidden(t *testing.T) {
	hidden := t.TempDir()
	must(t, os.WriteFile(filepath.Join(hidden, "treasure"), []byte("x"), 0o644))
	r := newRig(t, func(c *process.Config) { c.Hide = []string{hidden, "/nowhere"} })
	r.isolated()
	r.image("files", map[string]string{"data/part.txt": "content", "go.sh": "#!/bin/sh\ncat data/part.txt; ls -A " + hidden + " 2>&1; touch x 2>&1"},
		"fprocess=./go.sh", "mode=streaming")
	replica := r.deploy(function("reader", "files"))[0]
	out, _ := call(t.Context(), replica, "/", "")
	if !strings.HasPrefix(out, "content") || strings.Contains(out, "treasure") || !strings.Contains(out, "Read-only") {
		t.Errorf("the function printed %q", out)
	}
	fn := function("frozen", "self")
	fn.Spec.ReadOnlyRootFilesystem = true
	// The folders of control groups are read-only in the view too.
	fn.Spec.Limits = &lofn.Resources{Memory: "256Mi", CPU: "1"}
	frozen := r.deploy(fn)[0]
	if got := r.run(frozen, "grep ' / / ' /proc/self/mountinfo | cut -d' ' -f6; touch /tmp/ok && ls /tmp"); !strings.HasPrefix(got, "ro,") || !strings.HasSuffix(got, "ok") {
		t.Errorf("read-only root: %q", got)
	}
}

func TestUserIsNeitherRootNorAnother(t *testing.T) {
	r := newRig(t)
	r.isolated()
	fn := function("alice", "self")
	fn.Replicas = 2
	alice := r.deploy(fn)
	bob := r.deploy(function("bob", "self"))[0]
	one, two, other := r.run(alice[0], "id -u"), r.run(alice[1], "id -u"), r.run(bob, "id -u")
	if one == "0" || one != two {
		t.Errorf("two replicas of a function run as %s and %s", one, two)
	}
	if os.Getuid() == 0 && !ownNamespace() && one == other {
		t.Errorf("two functions run as the same user %s", one)
	}
	status := r.run(bob, "grep -E 'NoNewPrivs|CapEff|CapPrm' /proc/self/status | tr -d '\t'")
	if status != "CapPrm:0000000000000000\nCapEff:0000000000000000\nNoNewPrivs:1" {
		t.Errorf("privileges: %q", status)
	}
	pids := processes(alice[0].ID)
	if len(pids) == 0 {
		t.Fatal("found no process of alice")
	}
	for _, pid := range append(pids, os.Getpid()) {
		if got := r.run(bob, "cat /proc/"+strconv.Itoa(pid)+"/environ"); !strings.Contains(got, "Permission denied") {
			t.Errorf("a function reads the environment of process %d: %q", pid, got)
		}
	}
}

// ownNamespace reports whether the tests run in the user namespace of an
// ordinary user.
func ownNamespace() bool {
	table, _ := os.ReadFile("/proc/self/uid_map")
	return len(strings.Fields(string(table))) == 3 && strings.Fields(string(table))[2] == "1"
}

// processes returns those that have the replica's mark in their environment.
func processes(id string) []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		env, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
		if pid, err := strconv.Atoi(e.Name()); err == nil && bytes.Contains(env, []byte("LOFN_INSTANCE="+id)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestEnvironment(t *testing.T) {
	r := newRig(t, func(c *process.Config) {
		c.Environ = []string{"PATH=/usr/bin", "PLATFORM_PASSWORD=hunter2", "LANG=C.UTF-8"}
		c.GatewayURL = "http://127.0.0.1:8080"
	})
	r.self()
	fn := function("aware", "self", "mine=function", "LANG=sv_SE.UTF-8", "act=port")
	fn.Spec.Env["empty"] = ""
	replica := r.deploy(fn)[0]
	out, err := call(t.Context(), replica, "/env", "")
	must(t, err)
	env := make(map[string]string)
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if _, twice := env[name]; twice {
			t.Errorf("%s is set twice", name)
		}
		env[name] = value
	}
	for name, want := range map[string]string{
		"mine": "function", "LANG": "sv_SE.UTF-8", "HOME": "/tmp", "mode": "http",
		lofn.EnvName: "aware", lofn.EnvNamespace: lofn.DefaultNamespace, "LOFN_INSTANCE": replica.ID,
		"gateway_url": "http://127.0.0.1:8080", "OPENFAAS_URL": "http://127.0.0.1:8080",
		lofn.EnvPort: env[lofn.EnvHTTPPort], "PLATFORM_PASSWORD": "", "empty": "",
	} {
		if env[name] != want {
			t.Errorf("%s=%q, want %q", name, env[name], want)
		}
	}
	if _, set := env["empty"]; !set {
		t.Error("an empty variable of the function is missing")
	}
	if !strings.HasPrefix(env["PATH"], "/usr/bin:") {
		t.Errorf("PATH=%q", env["PATH"])
	}
}

func TestPathLeavesOutWhatFunctionsCannotReach(t *testing.T) {
	base := visibleFolder(t)
	for _, dir := range []string{"private", "private/below", "public"} {
		path := filepath.Join(base, dir)
		must(t, os.MkdirAll(path, 0o755))
		must(t, os.WriteFile(filepath.Join(path, "which-one"), []byte("#!/bin/sh\necho -n $0"), 0o755))
	}
	must(t, os.Chmod(filepath.Join(base, "private"), 0o700))
	r := newRig(t, func(c *process.Config) {
		c.Environ = []string{"PATH=" + base + "/private/below:" + base + "/private:" + base + "/public:/usr/bin"}
	})
	r.image("empty", nil)
	replica := r.deploy(function("finder", "empty", "mode=streaming", "fprocess=which-one"))[0]
	out, err := call(t.Context(), replica, "/", "")
	must(t, err)
	if out != base+"/public/which-one" {
		t.Errorf("ran %q", out)
	}
}

// visibleFolder is a folder that functions see too. Functions of an ordinary
// user reach what the user reaches, so these tests have no use for one.
func visibleFolder(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 || ownNamespace() {
		t.Skip("needs root, for a folder that is not below /tmp")
	}
	dir, err := os.MkdirTemp("/var", "lofn-test")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}
