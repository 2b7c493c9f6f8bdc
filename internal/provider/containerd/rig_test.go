package containerd_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	hub "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"lofn"
	"lofn/internal/provider/containerd"
	"lofn/internal/provider/containerd/containerdtest"
	"lofn/internal/registry"
)

func TestMain(m *testing.M) { os.Exit(containerdtest.Main(m)) }

// site is a machine: a containerd and a registry, on which several platforms
// may run.
type site struct {
	*containerdtest.Daemon
	host string // of the registry

	mu        sync.Mutex
	platforms int
}

func newSite(t testing.TB) *site {
	t.Helper()
	containerdtest.Require(t)
	server := httptest.NewServer(hub.New(hub.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return &site{Daemon: containerdtest.Start(t), host: strings.TrimPrefix(server.URL, "http://")}
}

// push puts an image into the registry and returns its name.
func (s *site) push(t testing.TB, repository string, image v1.Image) string {
	t.Helper()
	ref, err := name.ParseReference(s.host + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	return ref.Name()
}

// rig is a provider with maps for secrets and logs.
type rig struct {
	*containerd.Provider
	t    testing.TB
	site *site
	c    containerd.Config

	mu      sync.Mutex
	secrets map[string][]byte
	logs    map[string]string // by function
}

// newRig returns a provider on a machine. It stops its containers with the test.
func newRig(t testing.TB, s *site, change ...func(*containerd.Config)) *rig {
	t.Helper()
	r := &rig{t: t, site: s, secrets: make(map[string][]byte), logs: make(map[string]string)}
	s.mu.Lock()
	s.platforms++
	n := s.platforms
	s.mu.Unlock()
	images, err := registry.NewImages(registry.ImagesConfig{Registry: http.NotFoundHandler(), Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r.c = containerd.Config{
		Socket: s.Socket, Namespace: "lofn", Platform: fmt.Sprint("test-", n),
		RunDir: filepath.Join("/run", fmt.Sprint("lofn-", n)), Dir: t.TempDir(),
		Cgroup: fmt.Sprintf("%s/%s-%d", containerdtest.CgroupParent(), filepath.Base(s.Dir), n),
		Bridge: fmt.Sprint("lofn", n), Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100, byte(n), 0}), 24),
		Images: images, Secrets: r, Logs: r, Standby: 1,
	}
	for _, f := range change {
		f(&r.c)
	}
	r.open()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := containerd.Remove(ctx, r.c); err != nil {
			t.Errorf("Remove: %v", err)
		}
	})
	return r
}

// open makes the provider, also after another one with the same configuration.
func (r *rig) open() {
	r.t.Helper()
	p, err := containerd.New(r.t.Context(), r.c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Provider = p
}

// Secret implements containerd.Secrets.
func (r *rig) Secret(_ context.Context, namespace, name string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	value, ok := r.secrets[namespace+"/"+name]
	if !ok {
		return nil, lofn.Errorf(lofn.NotFound, "no secret %s", name)
	}
	return value, nil
}

func (r *rig) setSecret(name, value string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secrets[lofn.DefaultNamespace+"/"+name] = []byte(value)
}

// Writer implements containerd.Logs.
func (r *rig) Writer(ref lofn.Ref, _ string) io.WriteCloser { return logWriter{r, ref.Name} }

// Append implements containerd.Logs.
func (r *rig) Append(ref lofn.Ref, _, line string) { io.WriteString(logWriter{r, ref.Name}, line+"\n") }

type logWriter struct {
	*rig
	name string
}

func (w logWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logs[w.name] += string(b)
	return len(b), nil
}

func (logWriter) Close() error { return nil }

func (r *rig) logOf(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.logs[name]
}

// function returns one of generation 1 with one replica.
func (r *rig) function(t testing.TB, ref lofn.Ref, image string, env ...string) lofn.Function {
	t.Helper()
	fn := lofn.Function{Ref: ref, Generation: 1, Replicas: 1, Runtime: lofn.RuntimeContainer, Spec: lofn.Spec{Image: image, Env: make(map[string]string)}}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		fn.Spec.Env[name] = value
	}
	r.resolve(t, &fn)
	return fn
}

// resolve is what happens to a function when it is accepted.
func (r *rig) resolve(t testing.TB, fn *lofn.Function) {
	t.Helper()
	resolution, err := r.Resolve(t.Context(), *fn)
	if err != nil {
		t.Fatal(err)
	}
	fn.Digest, fn.Defaults = resolution.Digest, resolution.Defaults
}

func (r *rig) ensure(fn lofn.Function) {
	r.t.Helper()
	if err := r.Ensure(r.t.Context(), fn); err != nil {
		r.t.Fatal(err)
	}
}

// patience bounds each wait.
const patience = 40 * time.Second

// until waits for a state of a function's replicas, and returns them.
func (r *rig) until(ref lofn.Ref, what string, reached func([]lofn.Replica) bool) []lofn.Replica {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	now := make(map[string]lofn.Replica)
	list := func() (all []lofn.Replica) {
		for _, replica := range now {
			all = append(all, replica)
		}
		return all
	}
	for replica := range r.Watch(ctx) {
		if replica.Function != ref {
			continue
		}
		now[replica.ID] = replica
		if replica.State == lofn.Gone {
			delete(now, replica.ID)
		}
		if all := list(); reached(all) {
			return all
		}
	}
	r.t.Fatalf("waited for: %s of %s\nreplicas: %+v\nlog:\n%s", what, ref, list(), r.logOf(ref.Name))
	return nil
}

// ready waits until just n replicas are there, all ready.
func (r *rig) ready(ref lofn.Ref, n int) []lofn.Replica {
	r.t.Helper()
	return r.until(ref, fmt.Sprint(n, " ready replicas"), func(all []lofn.Replica) bool {
		for _, replica := range all {
			if replica.State != lofn.Ready {
				return false
			}
		}
		return len(all) == n
	})
}

// call returns the status and the text with which a replica answers.
func (r *rig) call(replica lofn.Replica, path string, body ...string) (int, string) {
	r.t.Helper()
	answer, err := http.Post("http://"+replica.Address+path, "text/plain", strings.NewReader(strings.Join(body, "")))
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func ref(name string) lofn.Ref { return lofn.Ref{Namespace: lofn.DefaultNamespace, Name: name} }

func withConfig(t testing.TB, image v1.Image, config *v1.ConfigFile) v1.Image {
	t.Helper()
	changed, err := mutate.ConfigFile(image, config)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}
