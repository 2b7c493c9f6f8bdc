package content_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	coretypes "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/image-spec/identity"

	"lofn"
	"lofn/internal/provider/containerd/containerdtest"
	"lofn/internal/provider/containerd/content"
)

type (
	blobInfo     = coretypes.Info
	snapshotInfo = snapshots.Info
)

// sample is an image of several layers: what is in the file "file" says which.
func sample(t testing.TB, content string) v1.Image {
	t.Helper()
	image := containerdtest.Image(t, v1.Config{Entrypoint: []string{"/bin/serve"}, Cmd: []string{"--port", "8080"}, Env: []string{"exec_timeout=5s"}, User: "100", WorkingDir: "/srv"},
		containerdtest.File{Path: "bin/serve", Mode: 0o755, Content: []byte(strings.Repeat("serve", 1000))})
	return withLayer(t, image, types.OCIUncompressedLayer, tarOf(t, "file", content))
}

func withLayer(t testing.TB, image v1.Image, kind types.MediaType, content []byte) v1.Image {
	t.Helper()
	image, err := mutate.AppendLayers(image, static.NewLayer(content, kind))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestEnsurePullsAndUnpacks(t *testing.T) {
	w := start(t, nil)
	name, digest := w.hub.push("team/echo:1", sample(t, "one"))
	image := w.ensure(name, digest)
	if got := w.readFile(image, "file"); got != "one" {
		t.Errorf("the file has %q", got)
	}
	if image.Digest != digest || image.User != "100" || image.WorkingDir != "/srv" || strings.Join(image.Process, " ") != "/bin/serve --port 8080" || image.Defaults()["exec_timeout"] != "5s" {
		t.Errorf("the image is %+v", image.Image)
	}
	asked := w.hub.requests.Load()
	again := w.ensure(name, digest)
	w.restart(nil)
	restarted := w.ensure(name, digest)
	if now := w.hub.requests.Load(); now != asked {
		t.Errorf("what was there was asked for again, %d times", now-asked)
	}
	if again.Parent != image.Parent || restarted.Parent != image.Parent {
		t.Errorf("the snapshots are %s, %s and %s", image.Parent, again.Parent, restarted.Parent)
	}
	for _, thing := range w.left() {
		if strings.HasPrefix(thing, "lease") || strings.HasPrefix(thing, "download") {
			t.Errorf("a %s was left", thing)
		}
	}
}

// readFile reads a file of an image as a container would see it.
func (w *world) readFile(image content.Image, path string) (content string) {
	w.t.Helper()
	ctx, release, err := w.client.WithLease(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	snapshotter := w.client.SnapshotService("")
	mounts, err := snapshotter.View(ctx, "view", image.Parent)
	if err == nil {
		err = mount.WithTempMount(ctx, mounts, func(root string) error {
			text, err := os.ReadFile(filepath.Join(root, path))
			content = string(text)
			return err
		})
	}
	if err := errors.Join(err, snapshotter.Remove(ctx, "view"), release(ctx)); err != nil {
		w.t.Fatal(err)
	}
	return content
}

func TestEnsureIsSharedByAllWhoWait(t *testing.T) {
	w := start(t, nil)
	name, digest := w.hub.push("echo:1", sample(t, "one"))
	other, otherDigest := w.hub.push("other:1", sample(t, "two"))
	var callers sync.WaitGroup
	before := w.hub.requests.Load()
	for range 16 {
		callers.Go(func() { w.mayEnsure(name, digest) })
		callers.Go(func() { w.mayEnsure(other, otherDigest) })
	}
	callers.Wait()
	// For each: hello, manifest, configuration and one layer; and the layer that
	// both have.
	if n := w.hub.requests.Load() - before; n > 9 {
		t.Errorf("%d requests were made", n)
	}
}

func TestEnsureTakesAllKindsOfLayers(t *testing.T) {
	w := start(t, nil)
	oci := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	docker := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.DockerConfigJSON), types.DockerManifestSchema2)
	for i, c := range []struct {
		base  v1.Image
		layer v1.Layer
	}{
		{oci, static.NewLayer(tarOf(t, "file", "0"), types.OCIUncompressedLayer)},
		{oci, compressed(t, types.OCILayer, tarOf(t, "file", "1"))},
		{oci, compressed(t, types.OCILayerZStd, tarOf(t, "file", "2"))},
		{docker, compressed(t, types.DockerLayer, tarOf(t, "file", "3"))},
		{docker, static.NewLayer(tarOf(t, "file", "4"), types.DockerUncompressedLayer)},
	} {
		image, err := mutate.AppendLayers(c.base, c.layer)
		if err != nil {
			t.Fatal(err)
		}
		name, digest := w.hub.push(fmt.Sprintf("kind:%d", i), runnable(t, image))
		if got := w.readFile(w.ensure(name, digest), "file"); got != fmt.Sprint(i) {
			t.Errorf("the file of %d has %q", i, got)
		}
	}
}

func TestWhatWasRemovedBehindOurBackIsPulledAgain(t *testing.T) {
	w := start(t, nil)
	name, digest := w.hub.push("echo:1", sample(t, "one"))
	for what, remove := range map[string]func(content.Image){
		"record": func(i content.Image) {
			if err := w.client.ImageService().Delete(t.Context(), i.Record.Name(), synchronous); err != nil {
				t.Fatal(err)
			}
		},
		"snapshot": func(i content.Image) {
			if err := w.client.SnapshotService("").Remove(t.Context(), i.Parent); err != nil {
				t.Fatal(err)
			}
		},
		"content": func(i content.Image) {
			for _, thing := range w.left() {
				if blob, ok := strings.CutPrefix(thing, "blob "); ok {
					if err := w.client.ContentStore().Delete(t.Context(), digestFrom(blob)); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.restart(nil)
		},
	} {
		remove(w.ensure(name, digest))
		if got := w.readFile(w.ensure(name, digest), "file"); got != "one" {
			t.Errorf("after the %s was removed the file has %q", what, got)
		}
		w.restart(nil)
		w.ensure(name, digest)
	}
}

func TestProgressOfAPull(t *testing.T) {
	w := start(t, nil)
	image := withLayer(t, sample(t, "one"), types.OCIUncompressedLayer, tarOf(t, "big", strings.Repeat("x", 3<<20)))
	name, digest := w.hub.push("echo:1", image)
	told := make(chan struct{})
	w.hub.serve(w.hub.slowly(2<<20, told))
	var mu sync.Mutex
	var lines []string
	_, err := w.Ensure(t.Context(), name, digest, lofn.PullMissing, nil, func(line string) {
		mu.Lock()
		defer mu.Unlock()
		if lines = append(lines, line); strings.Contains(line, " of ") && strings.Contains(line, "2.") {
			select {
			case <-told:
			default:
				close(told)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "pulling " + name + ": 2.0 of 3.0 MiB"; !strings.Contains(strings.Join(lines, "\n"), want) {
		t.Errorf("%q is not among %q", want, lines)
	}
}

func TestAPullThatNobodyWaitsForIsGivenUp(t *testing.T) {
	w := start(t, nil)
	name, digest := w.hub.push("echo:1", withLayer(t, sample(t, "one"), types.OCIUncompressedLayer, tarOf(t, "big", strings.Repeat("x", 3<<20))))
	ctx, leave := context.WithCancel(t.Context())
	never := make(chan struct{})
	w.hub.serve(w.hub.slowly(1<<20, never))
	_, err := w.Ensure(ctx, name, digest, lofn.PullMissing, nil, func(line string) {
		if strings.Contains(line, " of ") {
			leave()
		}
	})
	if err == nil {
		t.Fatal("there was no error")
	}
	close(never)
	w.hub.serve(nil)
	eventually(t, "nothing is left", func() bool { return len(w.left()) == 0 })
	w.ensure(name, digest)
}

func TestARecordCarriesItsConfiguration(t *testing.T) {
	w := start(t, nil)
	name, digest := w.hub.push("echo:1", sample(t, "one"))
	image := w.ensure(name, digest)
	w.daemon.Kill() // so that nobody can be asked
	described, err := image.Record.Spec(t.Context())
	if err != nil || described.Config.User != "100" {
		t.Errorf("the configuration is %+v, %v", described, err)
	}
	config, err := image.Record.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := coretypes.ReadBlob(t.Context(), image.Record.ContentStore(), config)
	if err != nil || !strings.Contains(string(text), "exec_timeout=5s") {
		t.Errorf("its text is %s, %v", text, err)
	}
	layers, err := image.Record.RootFS(t.Context())
	if err != nil || identity.ChainID(layers).String() != image.Parent {
		t.Errorf("its layers are %v, %v", layers, err)
	}
}

func BenchmarkEnsureOfWhatIsThere(b *testing.B) {
	containerdtest.Require(b)
	w := start(b, nil)
	name, digest := w.hub.push("echo:1", sample(b, "one"))
	w.ensure(name, digest)
	for b.Loop() {
		w.ensure(name, digest)
	}
}
