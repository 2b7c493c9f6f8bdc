package registry_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"lofn"
)

func TestFullDisk(t *testing.T) {
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
