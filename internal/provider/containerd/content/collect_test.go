package content_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	blobs "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"lofn"
	"lofn/internal/provider/containerd/content"
)

// soon has Collect take what is old by a moment.
func soon(c *content.Config) { c.Keep = time.Nanosecond }

func (w *world) collect(used ...string) {
	w.t.Helper()
	if err := w.Collect(w.t.Context(), func(digest string) bool { return slices.Contains(used, digest) }); err != nil {
		w.t.Fatal(err)
	}
}

// clear removes all images that were pulled.
func (w *world) clear() {
	w.t.Helper()
	w.restart(soon)
	w.collect()
	w.restart(nil)
	w.nothingLeft()
}

func TestCollectRemovesWhatNoFunctionUses(t *testing.T) {
	w := start(t, soon)
	one, oneDigest := w.hub.push("one:1", sample(t, "one"))
	two, twoDigest := w.hub.push("two:1", sample(t, "two"))
	w.ensure(one, oneDigest)
	w.collect(oneDigest)
	before := w.left()
	w.ensure(two, twoDigest)
	w.collect(oneDigest)
	if now := w.left(); !slices.Equal(now, before) {
		t.Errorf("there is now\n%s\nand there was\n%s", strings.Join(now, "\n"), strings.Join(before, "\n"))
	}
	if got := w.readFile(w.ensure(one, oneDigest), "file"); got != "one" {
		t.Errorf("what is used has %q", got)
	}
	if got := w.readFile(w.ensure(two, twoDigest), "file"); got != "two" {
		t.Errorf("pulled again it has %q", got)
	}
	w.collect()
	w.nothingLeft()
}

func TestCollectSparesWhatIsYoung(t *testing.T) {
	w := start(t, nil)
	name, digest := w.hub.push("one:1", sample(t, "one"))
	w.ensure(name, digest)
	w.collect()
	asked := w.hub.requests.Load()
	w.ensure(name, digest)
	if w.hub.requests.Load() != asked {
		t.Error("a young image was removed")
	}
}

func TestCollectSparesWhatWasImported(t *testing.T) {
	w := start(t, soon)
	w.load("byhand:1", sample(t, "by hand"))
	w.ensure("byhand:1", w.resolve("byhand:1", lofn.PullNever))
	w.collect()
	if got := w.readFile(w.ensure("byhand:1", w.resolve("byhand:1", lofn.PullNever)), "file"); got != "by hand" {
		t.Errorf("the imported image has %q", got)
	}
}

func TestCollectEndsWhatAKilledProcessLeft(t *testing.T) {
	w := start(t, soon)
	manager := w.client.LeasesService()
	// Such a lease is all that holds what was pulled when the process ended.
	l, err := manager.Create(t.Context(), leases.WithID("lofn-before-echo"), leases.WithExpiration(time.Hour), leases.WithLabels(map[string]string{"lofn.dev/pull": "lofn/echo@sha256:0", "lofn.dev/platform": "lofn"}))
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("half an image")
	blob := ocispec.Descriptor{Digest: digest.FromBytes(text), Size: int64(len(text))}
	if err := blobs.WriteBlob(leases.WithLease(t.Context(), l.ID), w.client.ContentStore(), "half", bytes.NewReader(text), blob); err != nil {
		t.Fatal(err)
	}
	if len(w.left()) != 2 {
		t.Fatalf("there is %q", w.left())
	}
	w.collect()
	w.nothingLeft()
}

func TestCollectLeavesOtherPlatformsAlone(t *testing.T) {
	w := start(t, soon)
	name, digest := w.hub.push("one:1", sample(t, "one"))
	w.ensure(name, digest)
	before := w.left()
	w.restart(func(c *content.Config) { c.Platform, c.Keep = "another", time.Nanosecond })
	w.collect()
	if now := w.left(); !slices.Equal(now, before) {
		t.Errorf("there is now\n%s\nand there was\n%s", strings.Join(now, "\n"), strings.Join(before, "\n"))
	}
	w.ensure(name, digest)
	w.collect()
	if now := w.left(); !slices.Equal(now, before) {
		t.Errorf("after it had the image too there is\n%s\nand there was\n%s", strings.Join(now, "\n"), strings.Join(before, "\n"))
	}
}

func TestCollectAndEnsureAtTheSameTime(t *testing.T) {
	w := start(t, soon)
	one, oneDigest := w.hub.push("one:1", sample(t, "one"))
	two, twoDigest := w.hub.push("two:1", sample(t, "two"))
	ctx, cancel := context.WithCancel(t.Context())
	var collecting, ensuring sync.WaitGroup
	collecting.Go(func() {
		for ctx.Err() == nil {
			if err := w.Collect(t.Context(), func(string) bool { return false }); err != nil {
				t.Error(err)
			}
		}
	})
	for range 3 {
		ensuring.Go(func() {
			for range 10 {
				w.mayEnsure(one, oneDigest)
				w.mayEnsure(two, twoDigest)
			}
		})
	}
	ensuring.Wait()
	cancel()
	collecting.Wait()
	w.collect()
	w.nothingLeft()
}
