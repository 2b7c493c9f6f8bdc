//go:build linux

package process_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lofn"
	"lofn/internal/provider/process"
)

// rig is a provider with folders for images and maps for secrets and logs.
type rig struct {
	*process.Provider
	t testing.TB

	images *shelf

	mu      sync.Mutex
	secrets map[string][]byte
	logs    map[string]string // by function
}

func newRig(t testing.TB, change ...func(*process.Config)) *rig {
	t.Helper()
	r := &rig{t: t, images: &shelf{images: make(map[string]lofn.Image)}, secrets: make(map[string][]byte), logs: make(map[string]string)}
	c := process.Config{
		RunDir:  filepath.Join(t.TempDir(), "run"),
		Images:  r.images,
		Secrets: r,
		Logs:    r,
	}
	for _, f := range change {
		f(&c)
	}
	p, err := process.New(c)
	if lofn.CodeOf(err) == lofn.Unimplemented {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.Provider = p
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

// shelf is where the rig's images are.
type shelf struct {
	mu     sync.Mutex
	images map[string]lofn.Image
}

// Resolve implements process.Images.
func (s *shelf) Resolve(_ context.Context, name string) (lofn.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	image, ok := s.images[name]
	if !ok {
		return lofn.Image{}, lofn.Errorf(lofn.Invalid, "image: %s does not exist", name)
	}
	return image, nil
}

// Unpack implements process.Images.
func (s *shelf) Unpack(ctx context.Context, name, _ string) (lofn.Image, error) {
	return s.Resolve(ctx, name)
}

func (s *shelf) put(name string, image lofn.Image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	image.Digest = fmt.Sprintf("sha256:%064x", len(s.images)+1)
	s.images[name] = image
}

// Secret implements process.Secrets.
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
	r.secrets[lofn.DefaultNamespace+"/"+name] = []byte(value)
	r.mu.Unlock()
}

// Writer implements process.Logs.
func (r *rig) Writer(ref lofn.Ref, _ string) io.WriteCloser { return logWriter{r, ref.Name} }

// Append implements process.Logs.
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

func (r *rig) log(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.logs[name]
}

// image makes an image with the files, all executable, and the environment.
func (r *rig) image(name string, files map[string]string, env ...string) {
	root := r.t.TempDir()
	app := filepath.Join(root, lofn.AppDir)
	must(r.t, os.MkdirAll(app, 0o755))
	must(r.t, os.Chmod(root, 0o755))
	for file, content := range files {
		path := filepath.Join(app, file)
		must(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
		writeProgram(r.t, path, []byte(content))
	}
	r.add(name, root, env)
}

func (r *rig) add(name, root string, env []string) { r.images.put(name, hostImage(root, env)) }

// hostImage is an image as lofn build makes them, for this machine.
func hostImage(root string, env []string) lofn.Image {
	return lofn.Image{
		Root:         root,
		Env:          env,
		WorkingDir:   lofn.AppDir,
		Process:      []string{"fwatchdog"},
		Labels:       map[string]string{lofn.LabelRuntime: lofn.RuntimeHost},
		OS:           runtime.GOOS,
		Architecture: runtime.GOARCH,
	}
}

// self adds an image "self" of this test binary as a function in mode http.
func (r *rig) self() {
	root := selfImage(r.t, r.t.TempDir())
	r.add("self", root, []string{"mode=http", "fprocess=./handler", "act=serve"})
}

// selfImage makes root an image with the test binary in it.
func selfImage(t testing.TB, root string) string {
	t.Helper()
	app := filepath.Join(root, lofn.AppDir)
	must(t, os.MkdirAll(app, 0o755))
	self, err := os.Executable()
	must(t, err)
	target := filepath.Join(app, "handler")
	if os.Link(self, target) == nil {
		return root
	}
	content, err := os.ReadFile(self)
	must(t, err)
	writeProgram(t, target, content)
	return root
}

// writeProgram writes a file to be executed. Nothing may be forked meanwhile,
// for what is open for writing, in whatever process, cannot be executed.
func writeProgram(t testing.TB, path string, content []byte) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	must(t, os.WriteFile(path, content, 0o755))
}

// function returns a function of one replica.
func function(name, image string, env ...string) lofn.Function {
	fn := lofn.Function{
		Ref:        lofn.Ref{Namespace: lofn.DefaultNamespace, Name: name},
		Spec:       lofn.Spec{Image: image, Env: make(map[string]string)},
		Generation: 1,
		Replicas:   1,
	}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		fn.Spec.Env[name] = value
	}
	return fn
}

func (r *rig) ensure(fn lofn.Function) {
	r.t.Helper()
	must(r.t, r.Ensure(r.t.Context(), fn))
}

// state waits until the replicas of the function that are not gone satisfy the
// condition and returns them, sorted by ID.
func (r *rig) state(fn lofn.Function, what string, condition func([]lofn.Replica) bool) []lofn.Replica {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	known := make(map[string]lofn.Replica)
	var now []lofn.Replica
	for event := range r.Watch(ctx) {
		if event.Function == fn.Ref {
			known[event.ID] = event
			if event.State == lofn.Gone {
				delete(known, event.ID)
			}
		}
		now = slices.SortedFunc(maps.Values(known), func(a, b lofn.Replica) int { return strings.Compare(a.ID, b.ID) })
		if condition(now) {
			return now
		}
	}
	r.t.Fatalf("waited in vain for %s to be %s: %+v\nlog:\n%s", fn.Ref, what, now, r.log(fn.Name))
	return nil
}

// ready waits for n replicas, all ready.
func (r *rig) ready(fn lofn.Function, n int) []lofn.Replica {
	r.t.Helper()
	return r.state(fn, "ready", func(now []lofn.Replica) bool {
		return len(now) == n && !slices.ContainsFunc(now, func(r lofn.Replica) bool {
			return r.State != lofn.Ready || r.Generation != fn.Generation
		})
	})
}

// failed waits for the function's only replica to fail and returns the reason.
func (r *rig) failed(fn lofn.Function) string {
	r.t.Helper()
	return r.state(fn, "failed", func(now []lofn.Replica) bool {
		return len(now) == 1 && now[0].State == lofn.Failed
	})[0].Reason
}

// gone removes the function and waits until nothing is left of the replicas.
func (r *rig) gone(fn lofn.Function, replicas ...lofn.Replica) {
	r.t.Helper()
	r.gonewith(func(ctx context.Context) error { return r.Remove(ctx, fn.Ref) }, replicas)
}

// gonewith does what ends the replicas and waits until nothing is left of them.
func (r *rig) gonewith(act func(context.Context) error, replicas []lofn.Replica) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	left := make(map[string]bool)
	for _, replica := range replicas {
		left[replica.ID] = true
	}
	for event := range watchActing(ctx, r, act) {
		if event.State == lofn.Gone {
			delete(left, event.ID)
		}
		if len(left) == 0 {
			return
		}
	}
	r.t.Fatalf("replicas are not gone: %v", left)
}

// watchActing watches, and acts once it watches.
func watchActing(ctx context.Context, r *rig, act func(context.Context) error) func(func(lofn.Replica) bool) {
	acted := false
	return func(yield func(lofn.Replica) bool) {
		for event := range r.Watch(ctx) {
			if !acted {
				acted = true
				if err := act(ctx); err != nil {
					r.t.Error(err)
				}
			}
			if !yield(event) {
				return
			}
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition that nothing announces.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("waited in vain: " + what)
		}
	}
}
