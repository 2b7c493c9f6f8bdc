package registry_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"lofn"
	"lofn/internal/registry"
)

func newImages(t *testing.T, handler http.Handler, dir string, hosts ...string) *registry.Images {
	t.Helper()
	images, err := registry.NewImages(registry.ImagesConfig{Registry: handler, Hosts: hosts, Dir: dir, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	return images
}

func TestResolve(t *testing.T) {
	b := start(t, t.TempDir())
	digest := b.push(t, "team/echo:1.0", buildImage(t, layer(file("home/app/index.py", "print(1)"))))
	b.push(t, "echo:latest", buildImage(t, layer(file("other", ""))))
	images := newImages(t, b, t.TempDir())
	for _, wrote := range []string{
		"team/echo:1.0", "team/echo@" + digest,
		b.host + "/team/echo:1.0", // over the network, as from any other registry
	} {
		image, err := images.Resolve(t.Context(), wrote)
		if err != nil {
			t.Fatalf("Resolve(%q): %v", wrote, err)
		}
		if image.Digest != digest || image.Root != "" {
			t.Errorf("Resolve(%q) = %s at %q, want %s and no root", wrote, image.Digest, image.Root, digest)
		}
		if image.OS != "linux" || image.Architecture != "amd64" || image.WorkingDir != lofn.AppDir ||
			!slices.Contains(image.Env, "mode=http") || image.Labels[lofn.LabelRuntime] != lofn.RuntimeHost ||
			!slices.Equal(image.Process, []string{"fwatchdog", "--flag"}) {
			t.Errorf("Resolve(%q) = %+v", wrote, image)
		}
	}
	if image, err := images.Resolve(t.Context(), "echo"); err != nil || image.Digest == digest {
		t.Errorf("a name without a tag: %s, %v, want the latest", image.Digest, err)
	}
}

func TestResolveByTheRegistrysOwnHostNeedsNoNetwork(t *testing.T) {
	b := start(t, t.TempDir())
	digest := b.push(t, "echo:1", buildImage(t, layer(file("a", "a"))))
	images := newImages(t, b, t.TempDir(), "lofn.example:8080")
	if image, err := images.Resolve(t.Context(), "lofn.example:8080/echo:1"); err != nil || image.Digest != digest {
		t.Errorf("got %s, %v, want %s", image.Digest, err, digest)
	}
}

func TestResolveErrors(t *testing.T) {
	b := start(t, t.TempDir())
	images := newImages(t, b, t.TempDir())
	for _, test := range []struct {
		name string
		code lofn.Code
		text string
	}{
		{"echo", lofn.Invalid, `"echo" is not in the built-in registry: push it with "lofn push", or name its registry, such as docker.io/echo:latest`},
		{"team/echo:1", lofn.Invalid, "docker.io/team/echo:1"},
		{b.host + "/none:1", lofn.Invalid, "does not exist at " + b.host},
		{"127.0.0.1:1/echo:1", lofn.Unavailable, "127.0.0.1:1 cannot be reached"},
		{"UPPER", lofn.Invalid, "lower case"},
		{"", lofn.Invalid, "image"},
		{"a b", lofn.Invalid, "image"},
		{"../../etc/passwd", lofn.Invalid, "image"},
		{"echo@sha256:12", lofn.Invalid, "image"},
	} {
		_, err := images.Resolve(t.Context(), test.name)
		if err == nil || lofn.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.text) {
			t.Errorf("Resolve(%q): %v with code %d, want code %d and %q in it", test.name, err, lofn.CodeOf(err), test.code, test.text)
		}
		if err != nil && strings.Contains(err.Error(), "lofn.invalid") {
			t.Errorf("Resolve(%q): %v names a host that is none", test.name, err)
		}
	}
}

func TestResolveChoosesThePlatform(t *testing.T) {
	b := start(t, t.TempDir())
	mine := buildImage(t, layer(file("mine", "")))
	other := buildImage(t, layer(file("other", "")))
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "plan9", Architecture: "mips"}}},
		mutate.IndexAddendum{Add: mine, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}}},
	)
	b.pushIndex(t, "both:1", index)
	b.pushIndex(t, "foreign:1", mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "plan9", Architecture: "mips"}}}))
	images := newImages(t, b, t.TempDir())
	want, err := mine.Digest()
	if err != nil {
		t.Fatal(err)
	}
	got, err := images.Resolve(t.Context(), "both:1")
	if err != nil || got.Digest != want.String() {
		t.Errorf("got %s, %v, want %s", got.Digest, err, want)
	}
	if unpacked, err := images.Unpack(t.Context(), "both:1", got.Digest); err != nil || !exists(unpacked.Root, "mine") {
		t.Errorf("the platform's image does not unpack: %v", err)
	}
	_, err = images.Resolve(t.Context(), "foreign:1")
	if lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), runtime.GOOS+"/"+runtime.GOARCH) {
		t.Errorf("an image for other machines: %v, want code Invalid and this platform named", err)
	}
}

func (b built) pushIndex(t *testing.T, repository string, index v1.ImageIndex) {
	t.Helper()
	ref, err := name.ParseReference(b.host + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
}

func TestUnpackOnce(t *testing.T) {
	b := start(t, t.TempDir())
	digest := b.push(t, "echo:1", buildImage(t, layer(file("home/app/index.py", "print(1)"))))
	var requests atomic.Int64
	counting := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		b.ServeHTTP(w, r)
	})
	dir := t.TempDir()
	images := newImages(t, counting, dir)
	first, err := images.Unpack(t.Context(), "echo:1", digest)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, first.Root, "home/app/index.py"); got != "print(1)" {
		t.Errorf("the file has %q", got)
	}
	before := requests.Load()
	again, err := images.Unpack(t.Context(), "echo:1", digest)
	if err != nil || again.Root != first.Root || again.Digest != digest || again.WorkingDir != lofn.AppDir {
		t.Errorf("the second time: %+v, %v, want %+v", again, err, first)
	}
	restarted, err := newImages(t, counting, dir).Unpack(t.Context(), "echo:1", digest)
	if err != nil || restarted.Root != first.Root {
		t.Errorf("after a restart: %+v, %v, want %+v", restarted, err, first)
	}
	if now := requests.Load(); now != before {
		t.Errorf("an image that is unpacked was asked for %d more times", now-before)
	}
}

func TestUnpackConcurrently(t *testing.T) {
	b := start(t, t.TempDir())
	digest := b.push(t, "echo:1", buildImage(t, layer(file("home/app/index.py", "print(1)"))))
	var layers atomic.Int64
	counting := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			layers.Add(1)
		}
		b.ServeHTTP(w, r)
	})
	images := newImages(t, counting, t.TempDir())
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			image, err := images.Unpack(t.Context(), "echo:1", digest)
			if err != nil {
				t.Error(err)
			} else if !exists(image.Root, "home/app/index.py") {
				t.Error("an image was returned before it was whole")
			}
		})
	}
	group.Wait()
	if got := layers.Load(); got != 2 {
		t.Errorf("%d blobs were read, want 2: the configuration and the layer, once each", got)
	}
}

func TestUnpackGivenUpLeavesNothing(t *testing.T) {
	b := start(t, t.TempDir())
	digest := b.push(t, "echo:1", buildImage(t, layer(file("a", "a"))))
	reached, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			once.Do(func() { close(reached) })
			select {
			case <-release:
			case <-r.Context().Done():
				return
			}
		}
		b.ServeHTTP(w, r)
	})
	dir := t.TempDir()
	images := newImages(t, slow, dir)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := images.Unpack(ctx, "echo:1", digest)
		failed <- err
	}()
	<-reached
	cancel()
	if err := <-failed; err == nil {
		t.Error("Unpack with an ended context returned no error")
	}
	eventually(t, "nothing is left", func() bool { return len(list(t, dir)) == 0 })
	close(release)
	if _, err := images.Unpack(t.Context(), "echo:1", digest); err != nil {
		t.Errorf("the next Unpack: %v", err)
	}
}

func TestUnpackErrors(t *testing.T) {
	b := start(t, t.TempDir())
	dir := t.TempDir()
	images := newImages(t, b, dir)
	missing := "sha256:" + strings.Repeat("0", 64)
	for _, digest := range []string{"", "latest", "sha256:../../../etc", "sha256:" + strings.Repeat("A", 64), missing} {
		if _, err := images.Unpack(t.Context(), "echo:1", digest); lofn.CodeOf(err) != lofn.Invalid {
			t.Errorf("Unpack(%q): %v, want code Invalid", digest, err)
		}
	}
	if got := list(t, dir); len(got) != 0 {
		t.Errorf("failures left %q", got)
	}
}

func TestDamagedLayerIsRefused(t *testing.T) {
	b := start(t, t.TempDir())
	digest := b.push(t, "echo:1", buildImage(t, layer(file("a", strings.Repeat("a", 1<<16)))))
	damaged := 0
	err := filepath.WalkDir(b.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Name() != "data" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil || len(content) < 2 || content[0] != 0x1f {
			return err
		}
		content[len(content)/2] ^= 0xff
		damaged++
		return os.WriteFile(path, content, 0o600)
	})
	if err != nil || damaged != 1 {
		t.Fatalf("damaged %d layers, %v", damaged, err)
	}
	dir := t.TempDir()
	if image, err := newImages(t, b, dir).Unpack(t.Context(), "echo:1", digest); err == nil {
		t.Errorf("a damaged image was unpacked at %s", image.Root)
	}
	if got := list(t, dir); len(got) != 0 {
		t.Errorf("the failure left %q", got)
	}
}

func TestLeftoversAreRemovedAtStart(t *testing.T) {
	b := start(t, t.TempDir())
	digest := b.push(t, "echo:1", buildImage(t, layer(file("a", "a"))))
	dir := t.TempDir()
	if _, err := newImages(t, b, dir).Unpack(t.Context(), "echo:1", digest); err != nil {
		t.Fatal(err)
	}
	whole := list(t, dir)
	for _, name := range []string{".unpack-1/rootfs/home/app", ".remove-2/image/rootfs"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	newImages(t, b, dir)
	if got := list(t, dir); !slices.Equal(got, whole) {
		t.Errorf("after a start there are %q, want %q", got, whole)
	}
}

func TestPrune(t *testing.T) {
	b := start(t, t.TempDir())
	dir := t.TempDir()
	images := newImages(t, b, dir)
	var digests []string
	for _, content := range []string{"a", "b", "c"} {
		digest := b.push(t, content+":1", buildImage(t, layer(file("file", content))))
		if _, err := images.Unpack(t.Context(), content+":1", digest); err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest)
	}
	if err := images.Prune(t.Context(), func(digest string) bool { return digest == digests[1] }); err != nil {
		t.Fatal(err)
	}
	if got, want := list(t, dir), []string{strings.Replace(digests[1], ":", "-", 1)}; !slices.Equal(got, want) {
		t.Errorf("after Prune there are %q, want %q", got, want)
	}
	if image, err := images.Unpack(t.Context(), "a:1", digests[0]); err != nil || read(t, image.Root, "file") != "a" {
		t.Errorf("a pruned image does not come back: %v", err)
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func read(t *testing.T, root, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Error(err)
	}
	return string(content)
}

func exists(root, name string) bool {
	_, err := os.Lstat(filepath.Join(root, name))
	return err == nil
}
