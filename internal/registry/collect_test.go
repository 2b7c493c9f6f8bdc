package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"lofn"
	"lofn/internal/registry"
)

func TestCollectFreesOverwrittenTags(t *testing.T) {
	b := start(t, t.TempDir())
	var pushed []string
	for version := range 3 {
		pushed = append(pushed, b.push(t, "team/echo:1", echo(t, version)))
	}
	b.collect(t)
	if got := b.count(t, blobs); got != 10 {
		t.Fatalf("there are %d blobs after an early collection, want all 10: they are young", got)
	}
	b.age(t)
	b.collect(t)
	b.gone(t, "team/echo", pushed[:2]...)
	b.whole(t, "team/echo@"+pushed[2], "team/echo:1")
	for what, want := range map[string]int{
		blobs: 4, // the base, the version, the configuration, the manifest
		"repositories/team/echo/_manifests/revisions/sha256/*":    1,
		"repositories/team/echo/_manifests/tags/1/index/sha256/*": 1,
		"repositories/team/echo/_layers/sha256/*":                 3,
	} {
		if got := b.count(t, what); got != want {
			t.Errorf("%d of %s stayed, want %d", got, what, want)
		}
	}
	// A client that pushes again is not told that something is still there.
	b.push(t, "team/echo:0", echo(t, 0))
	b.whole(t, "team/echo@"+pushed[0], "team/echo:0", "team/echo:1")
}

func TestCollectKeepsWhatIsPinned(t *testing.T) {
	b := start(t, t.TempDir())
	pinned := b.push(t, "echo:1", echo(t, 1))
	b.push(t, "echo:1", echo(t, 2))
	b.age(t)
	b.collect(t, pinned)
	b.whole(t, "echo@"+pinned, "echo:1")
	b.age(t)
	b.collect(t)
	b.gone(t, "echo", pinned)
	b.whole(t, "echo:1")
}

func TestCollectKeepsLayersOfOtherRepositories(t *testing.T) {
	b := start(t, t.TempDir())
	b.push(t, "one:1", echo(t, 1))
	b.push(t, "two:1", echo(t, 1))
	b.push(t, "one:1", echo(t, 2))
	b.age(t)
	b.collect(t)
	b.whole(t, "one:1", "two:1")
}

func TestCollectKeepsAnIndexWhole(t *testing.T) {
	b := start(t, t.TempDir())
	arm, amd, other := echo(t, 1), echo(t, 2), echo(t, 3)
	b.pushIndex(t, "echo:1", indexOf(arm, amd))
	b.age(t)
	b.collect(t)
	b.whole(t, "echo@"+digestOf(t, arm), "echo@"+digestOf(t, amd))
	if _, err := remote.Index(b.reference(t, "echo:1")); err != nil {
		t.Errorf("the index: %v", err)
	}

	// A function has one image of an index, whose tag moves on.
	b.pushIndex(t, "echo:1", indexOf(other))
	b.age(t)
	b.collect(t, digestOf(t, arm))
	b.whole(t, "echo@"+digestOf(t, arm), "echo@"+digestOf(t, other))
	b.gone(t, "echo", digestOf(t, amd))
}

// What a client has just seen it may build upon, however old it is.
func TestCollectKeepsWhatIsUsed(t *testing.T) {
	for what, use := range map[string]func(b built, old v1.Image){
		"the manifest read": func(b built, old v1.Image) {
			if _, err := remote.Get(b.reference(t, "echo@"+digestOf(t, old))); err != nil {
				t.Error(err)
			}
		},
		"the tag read": func(b built, _ v1.Image) {
			if _, err := remote.Head(b.reference(t, "echo:old")); err != nil {
				t.Error(err)
			}
		},
		"the manifest put again": func(b built, old v1.Image) {
			manifest, err := old.RawManifest()
			if err != nil {
				t.Fatal(err)
			}
			b.send(t, http.MethodPut, "/v2/echo/manifests/"+digestOf(t, old), "application/vnd.docker.distribution.manifest.v2+json", manifest)
		},
	} {
		t.Run(what, func(t *testing.T) {
			b := start(t, t.TempDir())
			old := echo(t, 1)
			b.push(t, "echo:old", old)
			b.age(t)
			use(b, old)
			if status := b.send(t, http.MethodDelete, "/v2/echo/manifests/old", "", nil); status != http.StatusAccepted {
				t.Fatalf("removing the tag: status %d", status)
			}
			b.collect(t)
			b.whole(t, "echo@"+digestOf(t, old))
			b.age(t)
			b.collect(t)
			b.gone(t, "echo", digestOf(t, old))
		})
	}
}

func TestCollectKeepsLayersThatAreUsed(t *testing.T) {
	content := []byte("a layer")
	blob := digest.FromBytes(content).String()
	for what, use := range map[string]func(t *testing.T, b built){
		"asked for": func(t *testing.T, b built) { b.send(t, http.MethodHead, "/v2/echo/blobs/"+blob, "", nil) },
		"sent":      func(t *testing.T, b built) { b.upload(t, "echo", content, blob) },
		"mounted": func(t *testing.T, b built) {
			b.send(t, http.MethodPost, "/v2/other/blobs/uploads/?from=echo&mount="+blob, "", nil)
		},
		"of a push that still sends": func(t *testing.T, b built) { b.startUpload(t, "echo") },
	} {
		t.Run(what, func(t *testing.T) {
			b := start(t, t.TempDir())
			b.upload(t, "echo", content, blob)
			b.age(t)
			use(t, b)
			b.collect(t)
			if status := b.send(t, http.MethodHead, "/v2/echo/blobs/"+blob, "", nil); status != http.StatusOK {
				t.Errorf("then the layer answers %d, want 200", status)
			}
		})
	}
	t.Run("not at all", func(t *testing.T) {
		b := start(t, t.TempDir())
		b.upload(t, "echo", content, blob)
		b.age(t)
		b.collect(t)
		if got := b.count(t, blobs); got != 0 {
			t.Errorf("the layer stayed")
		}
	})
}

func TestCollectKeepsLayersOfOtherAlgorithms(t *testing.T) {
	b := start(t, t.TempDir())
	content := []byte("a layer")
	alias := digest.SHA512.FromBytes(content).String()
	if status := b.upload(t, "echo", content, alias); status != http.StatusCreated {
		t.Fatalf("status %d, want 201", status)
	}
	b.age(t)
	b.collect(t)
	if status := b.send(t, http.MethodGet, "/v2/echo/blobs/"+alias, "", nil); status != http.StatusOK {
		t.Errorf("the layer answers %d, want 200", status)
	}
}

// TestPushesWhileCollecting pushes again what is about to be removed: either
// the client was told that it is gone and sent it, or it stays.
func TestPushesWhileCollecting(t *testing.T) {
	b := start(t, t.TempDir())
	rounds, versions := 5, 8
	if testing.Short() {
		rounds = 1
	}
	for round := range rounds {
		for version := range versions {
			b.push(t, "echo:latest", echo(t, version))
		}
		b.age(t)
		pushing, stop := context.WithCancel(t.Context())
		collected := make(chan error, 1)
		go func() {
			var err error
			for err == nil && pushing.Err() == nil {
				err = b.Collect(t.Context(), nothing)
			}
			collected <- err
		}()
		var pushes sync.WaitGroup
		for version := range versions {
			pushes.Go(func() {
				if err := remote.Write(b.reference(t, fmt.Sprintf("echo:%d", version)), echo(t, version)); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		pushes.Wait()
		stop()
		if err := <-collected; err != nil {
			t.Fatal(err)
		}
		for version := range versions {
			b.whole(t, fmt.Sprintf("echo:%d", version))
			b.send(t, http.MethodDelete, fmt.Sprintf("/v2/echo/manifests/%d", version), "", nil)
		}
		if t.Failed() {
			return
		}
	}
}

func TestSlowPushHoldsUpNobody(t *testing.T) {
	b := start(t, t.TempDir())
	b.push(t, "echo:1", echo(t, 1))
	b.push(t, "echo:1", echo(t, 2))
	b.age(t)
	slow, err := net.Dial("tcp", b.host)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprintf(slow, "PUT /v2/echo/manifests/2 HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n", b.host)
	// The answer means that the registry waits for the manifest.
	if _, err := io.ReadFull(slow, make([]byte, len("HTTP/1.1 100"))); err != nil {
		t.Fatal(err)
	}
	b.collect(t)
	if got := b.count(t, blobs); got != 4 {
		t.Errorf("%d blobs stayed, want 4", got)
	}
}

func TestManifestTooLargeIsRefused(t *testing.T) {
	b := start(t, t.TempDir())
	body := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]` + strings.Repeat(" ", 4<<20) + "}")
	if status := b.send(t, http.MethodPut, "/v2/echo/manifests/1", "application/vnd.oci.image.index.v1+json", body); status != http.StatusBadRequest {
		t.Errorf("status %d, want 400", status)
	}
}

func TestCollectOnAnEmptyRegistry(t *testing.T) {
	start(t, t.TempDir()).collect(t)
}

func TestCollectEndsWithItsContext(t *testing.T) {
	b := start(t, t.TempDir())
	old := b.push(t, "echo:1", echo(t, 1))
	b.push(t, "echo:1", echo(t, 2))
	b.age(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := b.Collect(ctx, func(string) bool {
		cancel()
		return false
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	b.whole(t, "echo@"+old, "echo:1")
}

// If not all can be read, it is not known what is wanted.
func TestCollectRemovesNothingInDoubt(t *testing.T) {
	b := start(t, t.TempDir())
	old := b.push(t, "echo:1", echo(t, 1))
	b.push(t, "echo:1", echo(t, 2))
	b.push(t, "other:1", echo(t, 3))
	b.age(t)
	tags := b.path("repositories/other/_manifests/tags")
	if err := os.RemoveAll(tags); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tags, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Collect(t.Context(), nothing); lofn.CodeOf(err) != lofn.Unavailable || !strings.Contains(err.Error(), tags) {
		t.Errorf("got %v, want code Unavailable and %s named", err, tags)
	}
	b.whole(t, "echo@"+old, "echo:1")
}

// What an image that is damaged refers to nobody knows, and it cannot be
// pulled: it must not keep the disk from being cleared.
func TestCollectPassesDamage(t *testing.T) {
	b := start(t, t.TempDir())
	damaged := b.push(t, "damaged:1", echo(t, 1))
	old := b.push(t, "echo:1", echo(t, 2))
	b.push(t, "echo:1", echo(t, 3))
	if err := os.WriteFile(filepath.Join(b.blob(damaged), "data"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.age(t)
	b.collect(t)
	b.gone(t, "echo", old)
	b.whole(t, "echo:1")
}

// BenchmarkCollect looks at 1,000 repositories with three tags each, where
// nothing is to be removed.
func BenchmarkCollect(b *testing.B) {
	r, err := registry.New(registry.Config{Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	server := httptest.NewServer(r)
	defer server.Close()
	for i := range 3000 {
		ref, err := name.ParseReference(fmt.Sprintf("%s/team/echo%d:%d", strings.TrimPrefix(server.URL, "http://"), i/3, i%3))
		if err != nil {
			b.Fatal(err)
		}
		if err := remote.Write(ref, echo(b, i)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := r.Collect(b.Context(), nothing); err != nil {
			b.Fatal(err)
		}
	}
}

// Places in the registry's folder.
const (
	blobs     = "blobs/sha256/*/*"
	revisions = "repositories/*/_manifests/revisions/sha256/*"
	layers    = "repositories/*/_layers/sha256/*"
)

func nothing(string) bool { return false }

// echo is an image with one layer that all versions share and one that none
// do.
func echo(t testing.TB, version int) v1.Image {
	return buildImage(t, layer(file("base", "base")), layer(file("home/app/version", fmt.Sprint(version))))
}

func indexOf(images ...v1.Image) v1.ImageIndex {
	index := v1.ImageIndex(empty.Index)
	for i, image := range images {
		platform := &v1.Platform{OS: "linux", Architecture: fmt.Sprint("a", i)}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
	}
	return index
}

func digestOf(t *testing.T, image v1.Image) string {
	t.Helper()
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func (b built) path(name string) string { return filepath.Join(b.dir, "docker/registry/v2", name) }

func (b built) blob(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return b.path("blobs/sha256/" + hex[:2] + "/" + hex)
}

func (b built) reference(t *testing.T, image string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(b.host + "/" + image)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// age makes everything look as if it had last been used hours ago.
func (b built) age(t *testing.T) {
	t.Helper()
	ageAll(t, b.dir)
}

func ageAll(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		then := time.Now().Add(-2 * time.Hour)
		return os.Chtimes(path, then, then)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (b built) collect(t *testing.T, pinned ...string) {
	t.Helper()
	keep := func(digest string) bool { return strings.Contains(strings.Join(pinned, " "), digest) }
	if err := b.Collect(t.Context(), keep); err != nil {
		t.Fatal(err)
	}
}

func (b built) count(t *testing.T, pattern string) int {
	t.Helper()
	found, err := filepath.Glob(b.path(pattern))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

// whole pulls images with all their layers.
func (b built) whole(t *testing.T, images ...string) {
	t.Helper()
	for _, image := range images {
		if err := b.pull(t, image); err != nil {
			t.Errorf("%s: %v", image, err)
		}
	}
}

func (b built) pull(t *testing.T, image string) error {
	t.Helper()
	pulled, err := remote.Image(b.reference(t, image))
	if err != nil {
		return err
	}
	_, configError := pulled.ConfigFile()
	_, err = io.Copy(io.Discard, mutate.Extract(pulled))
	return errors.Join(configError, err)
}

func (b built) gone(t *testing.T, repository string, digests ...string) {
	t.Helper()
	for _, digest := range digests {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.host+"/v2/"+repository+"/manifests/"+digest, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusNotFound || exists(b.blob(digest), "data") {
			t.Errorf("%s answers %d, want it gone", digest, response.StatusCode)
		}
	}
}
