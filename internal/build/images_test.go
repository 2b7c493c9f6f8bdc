package build_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"lofn"
	"lofn/internal/build"
)

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	image, err := random.Image(1024, 2)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// checkImage reads all of an image and holds it against its digests.
func checkImage(t *testing.T, image v1.Image) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range layers {
		want, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if got := digestOf(t, l.Compressed); got != want {
			t.Errorf("layer %d is %s, not %s", i, got, want)
		}
		if got := digestOf(t, l.Uncompressed); got != config.RootFS.DiffIDs[i] {
			t.Errorf("layer %d unpacks to %s, not %s", i, got, config.RootFS.DiffIDs[i])
		}
	}
}

func digestOf(t *testing.T, open func() (io.ReadCloser, error)) v1.Hash {
	t.Helper()
	stream, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	digest, _, err := v1.SHA256(stream)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestImagesKeepWhatWasPut(t *testing.T) {
	dir := t.TempDir()
	images, err := build.OpenImages(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, second := randomImage(t), randomImage(t)
	if _, err := images.Put("a:latest", first); err != nil {
		t.Fatal(err)
	}
	digest, err := images.Put("a:latest", second)
	if err != nil {
		t.Fatal(err)
	}
	// Another opening sees the same.
	if images, err = build.OpenImages(dir); err != nil {
		t.Fatal(err)
	}
	got, err := images.Get("a:latest")
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, got)
	if hash, err := got.Digest(); err != nil || hash.String() != digest {
		t.Errorf("digest %s, %v, want %s", hash, err, digest)
	}
	all, err := images.List()
	if err != nil || len(all) != 1 || all[0].Name != "a:latest" || all[0].Digest != digest || all[0].Size == 0 {
		t.Errorf("list %+v, %v", all, err)
	}
	if _, err := images.Get("b:latest"); lofn.CodeOf(err) != lofn.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestImagesTakePutsAtTheSameTime(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			// Each opens the store for itself, as processes would.
			images, err := build.OpenImages(dir)
			if err == nil {
				_, err = images.Put(fmt.Sprintf("f%02d:latest", i), randomImage(t))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	images, err := build.OpenImages(dir)
	if err != nil {
		t.Fatal(err)
	}
	all, err := images.List()
	if err != nil || len(all) != 20 {
		t.Fatalf("%d images, %v", len(all), err)
	}
	for _, stored := range all {
		image, err := images.Get(stored.Name)
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, image)
	}
}

// TestImagesForgetOldBlobs lets the time pass by dating files back.
func TestImagesForgetOldBlobs(t *testing.T) {
	dir := t.TempDir()
	images, err := build.OpenImages(dir)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string) {
		t.Helper()
		if _, err := images.Put(name, randomImage(t)); err != nil {
			t.Fatal(err)
		}
	}
	put("kept:latest")
	put("replaced:latest")
	put("replaced:latest") // leaves 4 blobs that nobody refers to
	before := blobs(t, dir)
	old := time.Now().Add(-2 * time.Hour)
	for _, file := range append(before, filepath.Join(dir, "swept")) {
		if err := os.Chtimes(file, old, old); err != nil {
			t.Fatal(err)
		}
	}
	abandoned, inUse := filepath.Join(dir, "builder-1"), filepath.Join(dir, "archive-2")
	if err := errors.Join(os.Mkdir(abandoned, 0o700), os.Mkdir(inUse, 0o700), os.Chtimes(abandoned, old, old.Add(-48*time.Hour)), os.Chtimes(inUse, old, old)); err != nil {
		t.Fatal(err)
	}
	put("new:latest")
	if after := blobs(t, dir); len(after) != len(before)-4+4 {
		t.Errorf("%d blobs, %d before", len(after), len(before))
	}
	if isThere(dir, "builder-1") || !isThere(dir, "archive-2") {
		t.Error("folders to work in must go when they have been left, and not before")
	}
	for _, name := range []string{"kept:latest", "replaced:latest", "new:latest"} {
		image, err := images.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, image)
	}
}

func blobs(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestImagesSurviveDamage(t *testing.T) {
	dir := t.TempDir()
	images, err := build.OpenImages(dir)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := images.Put("a:latest", randomImage(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", digest[len("sha256:"):]), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := images.Put("b:latest", randomImage(t)); err != nil {
		t.Errorf("a damaged image keeps another from being stored: %v", err)
	}
	if all, err := images.List(); err != nil || !slices.ContainsFunc(all, func(s build.StoredImage) bool { return s.Name == "b:latest" }) {
		t.Errorf("list %v, %v", all, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := images.Get("b:latest"); lofn.CodeOf(err) != lofn.Invalid {
		t.Errorf("got %v", err)
	}
}

func TestDamagedLayerIsBuiltAgain(t *testing.T) {
	needs(t, "bash")
	dir := t.TempDir()
	images, err := build.OpenImages(dir)
	if err != nil {
		t.Fatal(err)
	}
	req := build.Request{Name: "fn", Lang: "bash", Handler: "./fn", Dir: workingFolder(t, "bash-streaming"), Images: images}
	mustBuild(t, req)
	layer := layerDigests(t, images, "fn:latest")[0]
	if err := os.Truncate(filepath.Join(dir, "blobs", "sha256", layer.Hex), 10); err != nil {
		t.Fatal(err)
	}
	if again := mustBuild(t, req); again.Cached {
		t.Error("a damaged image counts as built")
	}
	image, err := images.Get("fn:latest")
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, image)
}

func TestOpenImagesWithoutAPlace(t *testing.T) {
	data := t.TempDir()
	t.Setenv("XDG_DATA_HOME", data)
	if _, err := build.OpenImages(""); err != nil {
		t.Fatal(err)
	}
	if !isThere(data, "lofn/images/oci-layout") {
		t.Error("the store is not in $XDG_DATA_HOME/lofn/images")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := build.OpenImages(filepath.Join(file, "images")); lofn.CodeOf(err) != lofn.Invalid {
		t.Errorf("got %v", err)
	}
}
