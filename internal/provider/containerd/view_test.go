package containerd_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"lofn"
	"lofn/internal/provider/containerd"
	"lofn/internal/provider/containerd/containerdtest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// start has a function run and returns its only replica.
func (r *rig) start(fn lofn.Function) lofn.Replica {
	r.t.Helper()
	r.ensure(fn)
	return r.ready(fn.Ref, 1)[0]
}

// field is a line of /proc/self/status in a container.
func (r *rig) field(replica lofn.Replica, name string) string {
	r.t.Helper()
	_, text := r.call(replica, "/run")
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	r.t.Fatalf("no %s in:\n%s", name, text)
	return ""
}

func TestContainersAreContained(t *testing.T) {
	s := newSite(t)
	r := newRig(t, s)
	image := s.push(t, "answer:1", containerdtest.Answer(t))
	replica := r.start(r.function(t, ref("contained"), image))
	for name, want := range map[string]string{
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapBnd": "0000000000000000",
		"NoNewPrivs": "1", "Seccomp": "2", "NSpid": "1",
	} {
		if got := r.field(replica, name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if _, text := r.call(replica, "/file/etc/hosts"); !strings.Contains(text, r.Gateway().String()+"\tgateway") && !strings.Contains(text, "gateway.openfaas") {
		t.Errorf("/etc/hosts does not name the gateway:\n%s", text)
	}
	if status, text := r.call(replica, "/file/etc/resolv.conf"); status != http.StatusOK {
		t.Errorf("/etc/resolv.conf: %s", text)
	}
	for path, want := range map[string]string{
		"OPENFAAS_NAME": "contained", "OPENFAAS_NAMESPACE": lofn.DefaultNamespace,
		"OPENFAAS_URL": "http://gateway.openfaas:8080", "LOFN_INSTANCE": replica.ID,
	} {
		if _, text := r.call(replica, "/env/"+path); text != want {
			t.Errorf("%s is %q, want %q", path, text, want)
		}
	}
	if status, text := r.call(replica, "/write/var/there", "x"); status != http.StatusForbidden && status != http.StatusOK {
		t.Errorf("writing: %d %s", status, text)
	}
}

func TestReadOnlyRootHasAWritableTmp(t *testing.T) {
	s := newSite(t)
	r := newRig(t, s)
	fn := r.function(t, ref("frozen"), s.push(t, "answer:1", containerdtest.Answer(t)))
	fn.Spec.ReadOnlyRootFilesystem = true
	replica := r.start(fn)
	if status, text := r.call(replica, "/write/file", "x"); status != http.StatusForbidden || !strings.Contains(text, "read-only") {
		t.Errorf("writing to the root: %d %s", status, text)
	}
	if status, text := r.call(replica, "/write/tmp/file", "kept"); status != http.StatusOK {
		t.Errorf("writing to /tmp: %d %s", status, text)
	}
	if _, text := r.call(replica, "/file/tmp/file"); text != "kept" {
		t.Errorf("/tmp/file holds %q", text)
	}
}

func TestUsers(t *testing.T) {
	s := newSite(t)
	named := containerdtest.Answer(t)
	config, err := named.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Config.User = "app"
	named = withConfig(t, named, config)
	for name, test := range map[string]struct {
		image       string
		nonRoot     bool
		annotations map[string]string
		want        string
	}{
		"root":               {image: s.push(t, "answer:1", containerdtest.Answer(t)), want: "0\t0\t0\t0"},
		"of the image":       {image: s.push(t, "named:1", named), want: "100\t100\t100\t100"},
		"of the platform":    {image: s.push(t, "named:1", named), nonRoot: true, want: "12000\t12000\t12000\t12000"},
		"of the function":    {image: s.push(t, "named:1", named), annotations: map[string]string{lofn.AnnotationNonRoot: "true"}, want: "12000\t12000\t12000\t12000"},
		"though not allowed": {image: s.push(t, "named:1", named), nonRoot: true, annotations: map[string]string{lofn.AnnotationNonRoot: "false"}, want: "100\t100\t100\t100"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, s, func(c *containerd.Config) { c.NonRoot = test.nonRoot })
			fn := r.function(t, ref("user"), test.image)
			fn.Spec.Annotations = test.annotations
			if got := r.field(r.start(fn), "Uid"); got != test.want {
				t.Errorf("runs as %q, want %q", got, test.want)
			}
		})
	}
}

func TestSecretsAreFilesThatFollowChanges(t *testing.T) {
	s := newSite(t)
	r := newRig(t, s)
	fn := r.function(t, ref("trusted"), s.push(t, "answer:1", containerdtest.Answer(t)))
	fn.Spec.Secrets = []string{"key"}
	fn.Spec.Annotations = map[string]string{lofn.AnnotationNonRoot: "true"}
	r.ensure(fn)
	r.until(fn.Ref, "a failure that names the secret", func(all []lofn.Replica) bool {
		return len(all) == 1 && all[0].State == lofn.Failed && strings.Contains(all[0].Reason, `secret "key" does not exist`)
	})
	r.setSecret("key", "first")
	if err := r.SyncSecret(t.Context(), lofn.DefaultNamespace, "key"); err != nil {
		t.Fatal(err)
	}
	replica := r.ready(fn.Ref, 1)[0]
	if status, text := r.call(replica, "/file/var/openfaas/secrets/key"); text != "first" {
		t.Errorf("the secret: %d %q", status, text)
	}
	r.setSecret("key", "second")
	if err := r.SyncSecret(t.Context(), lofn.DefaultNamespace, "key"); err != nil {
		t.Fatal(err)
	}
	if _, text := r.call(replica, "/file/var/openfaas/secrets/key"); text != "second" {
		t.Errorf("after the change the secret is %q", text)
	}
}

func TestMemoryLimitIsToldAsSuch(t *testing.T) {
	s := newSite(t)
	r := newRig(t, s)
	fn := r.function(t, ref("greedy"), s.push(t, "answer:1", containerdtest.Answer(t)))
	fn.Spec.Limits = &lofn.Resources{Memory: "32Mi"}
	replica := r.start(fn)
	if answer, err := http.Get("http://" + replica.Address + "/memory/200"); err == nil {
		answer.Body.Close()
		t.Fatalf("it got 200 MiB: %s", answer.Status)
	}
	r.until(fn.Ref, "a failure that names the limit", func(all []lofn.Replica) bool {
		return len(all) == 1 && strings.Contains(all[0].Reason, "over its memory limit of 32Mi")
	})
	containerdtest.Until(t, "its log says so", func() bool { return strings.Contains(r.logOf("greedy"), "over its memory limit of 32Mi") })
}

func TestContainersSeeTheirOwnLimits(t *testing.T) {
	s := newSite(t)
	r := newRig(t, s)
	fn := r.function(t, ref("modest"), s.push(t, "answer:1", containerdtest.Answer(t)))
	fn.Spec.Limits = &lofn.Resources{Memory: "64Mi", CPU: "500m"}
	replica := r.start(fn)
	want := map[string]string{"memory.max": "67108864", "memory.swap.max": "0", "cpu.max": "50000 100000"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil { // version 1
		want = map[string]string{"memory/memory.limit_in_bytes": "67108864", "cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}
	}
	for file, want := range want {
		if status, text := r.call(replica, "/file/sys/fs/cgroup/"+file); status != http.StatusOK || strings.TrimSpace(text) != want {
			t.Errorf("%s: %d %s, want %s", file, status, text, want)
		}
	}
	_, text := r.call(replica, "/file/proc/self/cgroup")
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, ":/\n") {
			t.Errorf("it sees a group besides its own: %s", line)
		}
	}
}

func TestPidsLimit(t *testing.T) {
	s := newSite(t)
	r := newRig(t, s)
	fn := r.function(t, ref("few"), s.push(t, "answer:1", containerdtest.Answer(t)))
	fn.Spec.Annotations = map[string]string{lofn.AnnotationPids: "40"}
	replica := r.start(fn)
	if status, text := r.call(replica, "/file/sys/fs/cgroup/pids/pids.max"); status == http.StatusOK && strings.TrimSpace(text) != "40" {
		t.Errorf("pids.max is %s", text)
	}
	if max := containerdtest.ReadCgroup(t, "pids", r.c.Cgroup+"/"+replica.ID, "pids.max"); max != "40" {
		t.Errorf("pids.max is %s, want 40", max)
	}
}

func TestLogsAreKept(t *testing.T) {
	s := newSite(t)
	r := newRig(t, s)
	fn := r.function(t, ref("talker"), s.push(t, "answer:1", containerdtest.Answer(t)))
	replica := r.start(fn)
	r.call(replica, "/print", "one line\n")
	fn.Replicas = 0
	r.ensure(fn)
	r.ready(fn.Ref, 0)
	if log := r.logOf("talker"); !strings.Contains(log, "starting as 0\n") || !strings.Contains(log, "one line\n") {
		t.Errorf("log:\n%s", log)
	}
}

func TestRefusedBeforeAnythingIsMade(t *testing.T) {
	s := newSite(t)
	r := newRig(t, s)
	idle := containerdtest.Answer(t)
	config, err := idle.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Config.Entrypoint = nil
	other := config.DeepCopy()
	other.Architecture = "s390x"
	for name, test := range map[string]struct {
		image       string
		annotations map[string]string
		want        string
	}{
		"no such image":      {image: s.host + "/nowhere:1", want: "does not exist"},
		"no command":         {image: s.push(t, "idle:1", withConfig(t, idle, config)), want: "has no command"},
		"other architecture": {image: s.push(t, "other:1", withConfig(t, idle, other)), want: "s390x"},
		"no such secret":     {image: s.host + "/x:1", annotations: map[string]string{lofn.AnnotationPullSecret: "hub"}, want: `no secret "hub"`},
		"never, and not here": {image: s.host + "/x:1", annotations: map[string]string{lofn.AnnotationPull: "never"},
			want: s.host + "/x:1"},
	} {
		t.Run(name, func(t *testing.T) {
			fn := lofn.Function{Ref: ref("refused"), Spec: lofn.Spec{Image: test.image, Annotations: test.annotations}}
			_, err := r.Resolve(t.Context(), fn)
			if lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v (%v), want one with code invalid that has %q in it", err, lofn.CodeOf(err), test.want)
			}
		})
	}
}

func TestNotReadyIsExplained(t *testing.T) {
	s := newSite(t)
	r := newRig(t, s)
	image := s.push(t, "answer:1", containerdtest.Answer(t))
	for name, test := range map[string]struct {
		env  []string
		want string
	}{
		"other-port": {[]string{"LISTEN=:5000"}, "but on port 5000:"},
		"localhost":  {[]string{"LISTEN=127.0.0.1:8080"}, "but on port 8080 of localhost only"},
		"unhealthy":  {[]string{"HEALTH=503"}, "a GET of /_/health is answered with status 503"},
		"ends":       {[]string{"EXIT=3"}, "exited with status 3: error: told to end"},
	} {
		t.Run(name, func(t *testing.T) {
			fn := r.function(t, ref(name), image, append(test.env, "ready_timeout=1s")...)
			r.ensure(fn)
			r.until(fn.Ref, "a failure with the reason "+test.want, func(all []lofn.Replica) bool {
				return len(all) == 1 && all[0].State == lofn.Failed && strings.Contains(all[0].Reason, test.want)
			})
		})
	}
}

func TestImageWithoutAHealthPathIsReady(t *testing.T) {
	s := newSite(t)
	r := newRig(t, s)
	r.start(r.function(t, ref("plain"), s.push(t, "answer:1", containerdtest.Answer(t)), "HEALTH=404"))
}

func TestStopDoesNotWaitForWhoCannotHear(t *testing.T) {
	s := newSite(t)
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("SKIPPED: no /bin/busybox: on Debian, apt install busybox-static")
	}
	r := newRig(t, s)
	// It has no handler for SIGTERM, and as the first process gets none of it.
	image := containerdtest.Image(t, v1.Config{Entrypoint: []string{"/busybox", "httpd", "-f", "-p", "8080"}},
		containerdtest.File{Path: "busybox", Mode: 0o755, Content: busybox})
	fn := r.function(t, ref("deaf"), s.push(t, "deaf:1", image), "write_timeout=1m")
	r.start(fn)
	fn.Replicas = 0
	r.ensure(fn)
	r.ready(fn.Ref, 0) // sooner than after the minute that it would have
}
