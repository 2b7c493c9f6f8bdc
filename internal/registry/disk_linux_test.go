package registry_test

import (
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"lofn"
)

// smallDisk is a folder with room for one megabyte.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestCollectOnAFullDisk(t *testing.T) {
	b := start(t, smallDisk(t))
	failed := false
	for version := 0; !failed; version++ {
		failed = remote.Write(b.reference(t, "echo:1"), randomImage(t, version), remote.WithRetryBackoff(remote.Backoff{Steps: 1}), remote.WithRetryStatusCodes()) != nil
	}
	fill, err := os.Create(b.dir + "/fill")
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Close()
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	// As after a restart, when the abandoned upload is removed.
	if err := os.RemoveAll(b.path("repositories/echo/_uploads")); err != nil {
		t.Fatal(err)
	}
	b.age(t)
	b.collect(t)
	b.whole(t, "echo:1")
	b.push(t, "echo:1", randomImage(t, -1))
	b.whole(t, "echo:1")
}

// randomImage has a layer of 100 kB that cannot be compressed.
func randomImage(t *testing.T, version int) v1.Image {
	t.Helper()
	content := make([]byte, 100_000)
	if _, err := rand.NewChaCha8([32]byte{byte(version)}).Read(content); err != nil {
		t.Fatal(err)
	}
	return buildImage(t, layer(file("random", string(content))))
}

func TestFullDisk(t *testing.T) {
	dir := smallDisk(t)
	b := start(t, t.TempDir())
	large := b.push(t, "large:1", buildImage(t, layer(file("small", "s"), file("large", strings.Repeat("x", 4<<20)))))
	small := b.push(t, "small:1", buildImage(t, layer(file("small", "s"))))
	images := newImages(t, b, dir)
	_, err := images.Unpack(t.Context(), "large:1", large)
	if lofn.CodeOf(err) != lofn.Unavailable || !strings.Contains(err.Error(), "space") || !strings.Contains(err.Error(), "large:1") {
		t.Errorf("got %v, want code Unavailable, the image and the reason named", err)
	}
	if got := list(t, dir); len(got) != 0 {
		t.Errorf("the failure left %q", got)
	}
	if _, err := images.Unpack(t.Context(), "small:1", small); err != nil {
		t.Errorf("an image that fits: %v", err)
	}
}
