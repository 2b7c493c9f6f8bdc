package build_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"lofn"
	"lofn/internal/build"
)

// standsOn checks that the function's image begins with the base's layers.
func standsOn(t *testing.T, images *build.Images, result build.Result, under v1.Image) {
	t.Helper()
	image, _ := get(t, images, result.Image)
	got, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	want, err := under.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range want {
		// A tarball may hold a layer in another compression, but not another layer.
		mine, err := got[i].DiffID()
		if err != nil {
			t.Fatal(err)
		}
		if theirs, err := l.DiffID(); err != nil || mine != theirs {
			t.Errorf("layer %d is %s, want %s, %v", i, mine, theirs, err)
		}
	}
}

// archiveOf packs a folder as a tar archive.
func archiveOf(t *testing.T, folder string, zipped bool) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "archive.tar")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	var to io.WriteCloser = out
	if zipped {
		to = gzip.NewWriter(out)
	}
	w := tar.NewWriter(to)
	if err := errors.Join(w.AddFS(os.DirFS(folder)), w.Close(), to.Close()); err != nil {
		t.Fatal(err)
	}
	return file
}

func savedTo(t *testing.T, images map[string]v1.Image) string {
	t.Helper()
	file, tagged := filepath.Join(t.TempDir(), "saved.tar"), map[name.Tag]v1.Image{}
	for text, image := range images {
		tag, err := name.NewTag(text)
		if err != nil {
			t.Fatal(err)
		}
		tagged[tag] = image
	}
	if err := tarball.MultiWriteToFile(file, tagged); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestPlacesOfBases(t *testing.T) {
	mine := baseImage(t, runtime.GOARCH)
	index := baseIndex(t, "s390x", runtime.GOARCH)
	named := layoutOf(t, func(p layout.Path) error {
		return errors.Join(
			p.AppendImage(baseImage(t, "s390x"), layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "other:1"})),
			p.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "mine:1"})),
		)
	})
	for what, base := range map[string]string{
		"layout":                       "oci:" + imageLayout(t, mine),
		"layout, index":                "oci:" + layoutOf(t, func(p layout.Path) error { return p.AppendIndex(index) }),
		"layout, by name":              "oci:" + named + ":mine:1",
		"archive of a layout":          "tar:" + archiveOf(t, imageLayout(t, mine), false),
		"archive of a layout, by name": "tar:" + archiveOf(t, named, true) + ":mine:1",
		"saved":                        "tar:" + savedTo(t, map[string]v1.Image{"python:3": mine}),
		"saved, by name":               "tar:" + savedTo(t, map[string]v1.Image{"python:3": mine, "busybox:1": baseImage(t, "s390x")}) + ":python:3",
	} {
		t.Run(what, func(t *testing.T) {
			req := containerRequest(t, "bash-streaming", base)
			standsOn(t, req.Images, mustBuild(t, req), mine)
		})
	}
}

func TestBadBases(t *testing.T) {
	mine := baseImage(t, runtime.GOARCH)
	two := layoutOf(t, func(p layout.Path) error {
		return errors.Join(
			p.AppendImage(mine, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "a"})),
			p.AppendImage(baseImage(t, "s390x"), layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "b"})),
		)
	})
	damaged := imageLayout(t, mine)
	damage(t, damaged, mine)
	saved := savedTo(t, map[string]v1.Image{"python:3": mine, "busybox:1": baseImage(t, "s390x")})
	text := filepath.Join(t.TempDir(), "text")
	write(t, filepath.Dir(text), "text", strings.Repeat("no archive\n", 100))
	empty := layoutOf(t, func(p layout.Path) error { return p.RemoveDescriptors(match.Name("x")) })
	for what, c := range map[string]struct {
		base string
		code lofn.Code
		want string
	}{
		"no name":           {"Not A Name", lofn.Invalid, "it is no image name: use scratch, [registry/]name:tag, oci:FOLDER[:name] or tar:FILE[:name]"},
		"no folder":         {"oci:/nowhere/at/all", lofn.NotFound, "/nowhere/at/all/index.json is not there"},
		"empty layout":      {"oci:" + empty, lofn.NotFound, "there is no image in it"},
		"several":           {"oci:" + two, lofn.Invalid, "there are 2 images in it: add a colon and the name of one: a, b"},
		"not that one":      {"oci:" + two + ":c", lofn.NotFound, `there is no image "c" in it: it has a, b`},
		"damaged":           {"oci:" + damaged, lofn.Invalid, "it is damaged: what should be sha256:"},
		"layers, no config": {"oci:" + imageLayout(t, withoutDiffIDs(t, mine)), lofn.Invalid, "its configuration speaks of 0 layers, its manifest of 1"},
		"no file":           {"tar:/nowhere.tar", lofn.NotFound, "there is no file /nowhere.tar"},
		"no archive":        {"tar:" + text, lofn.Invalid, "it is no tar archive, or damaged"},
		"several, saved":    {"tar:" + saved, lofn.Invalid, "there are 2 images in it: add a colon and the name of one: "},
		"not that, saved":   {"tar:" + saved + ":perl:5", lofn.NotFound, `there is no image "perl:5" in it`},
		"archive of others": {"tar:" + archiveOf(t, t.TempDir(), false), lofn.Invalid, "neither an OCI image layout nor made by docker save"},
		"no such platform":  {"oci:" + layoutOf(t, func(p layout.Path) error { return p.AppendIndex(baseIndex(t, "s390x", "ppc64le")) }), lofn.Invalid, "it has no variant for linux/" + runtime.GOARCH + ": it has linux/s390x, linux/ppc64le"},
	} {
		t.Run(what, func(t *testing.T) {
			req := containerRequest(t, "bash-streaming", c.base)
			dir := t.TempDir()
			images, err := build.OpenImages(dir)
			if err != nil {
				t.Fatal(err)
			}
			req.Images = images
			_, err = build.Build(context.Background(), req)
			if lofn.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), `function "fn": base image`) {
				t.Errorf("got %v (%v), want %q", err, lofn.CodeOf(err), c.want)
			}
			nothingHalf(t, dir)
		})
	}
}

// withoutDiffIDs is an image whose configuration does not know its layers.
func withoutDiffIDs(t *testing.T, image v1.Image) v1.Image {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.RootFS.DiffIDs = nil
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

// damage changes a byte of a layer.
func damage(t *testing.T, folder string, image v1.Image) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "blobs", "sha256", digest.Hex)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// nothingHalf checks that an image store has no blob that a failed build left.
func nothingHalf(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch name := d.Name(); {
		case d.IsDir() && strings.HasPrefix(name, "archive-"), strings.HasPrefix(name, ".layer-"), strings.HasPrefix(name, ".new-"):
			t.Errorf("%s was left behind", file)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	images, err := build.OpenImages(dir)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := images.List(); err != nil || len(all) > 0 {
		t.Errorf("the store has %v, %v", all, err)
	}
}

// dateBack makes everything below the paths as old.
func dateBack(t *testing.T, age time.Duration, paths ...string) {
	t.Helper()
	old := time.Now().Add(-age)
	for _, root := range paths {
		err := filepath.WalkDir(root, func(file string, _ fs.DirEntry, err error) error { return errors.Join(err, os.Chtimes(file, old, old)) })
		if err != nil {
			t.Fatal(err)
		}
	}
}

// An archive is imported once, until it changes.
func TestArchiveIsKept(t *testing.T) {
	mine := baseImage(t, runtime.GOARCH)
	file := savedTo(t, map[string]v1.Image{"python:3": mine})
	req, log, dir := containerRequest(t, "bash-streaming", "tar:"+file), &lines{}, t.TempDir()
	images, err := build.OpenImages(dir)
	if err != nil {
		t.Fatal(err)
	}
	req.Log, req.Images = log, images
	result := mustBuildLogged(t, req)
	if !log.has("base image tar:") {
		t.Errorf("nothing was read: %q", log.text)
	}
	req.NoCache, log.text = true, nil
	if again := mustBuildLogged(t, req); again.Digest != result.Digest || log.has("base image tar:") {
		t.Errorf("it was read again: %s, %q", again.Digest, log.text)
	}
	before := log.text
	dateBack(t, 2*time.Hour, filepath.Join(dir, "blobs"), filepath.Join(dir, "swept"))
	if _, err := images.Put("other:latest", randomImage(t)); err != nil { // sweeps
		t.Fatal(err)
	}
	if swept := mustBuildLogged(t, req); swept.Digest != result.Digest || len(log.text) == len(before) || log.has("base image tar:") {
		t.Errorf("it was not kept over a sweep: %q", log.text)
	}
	other := baseImage(t, runtime.GOARCH, "CHANGED=1")
	if err := os.Rename(savedTo(t, map[string]v1.Image{"python:3": other}), file); err != nil {
		t.Fatal(err)
	}
	if changed := mustBuildLogged(t, req); changed.Digest == result.Digest {
		t.Error("the change goes unnoticed")
	}
	// Two months later nobody has built anything on either.
	count := len(blobs(t, dir))
	dateBack(t, 60*24*time.Hour, filepath.Join(dir, "blobs"), filepath.Join(dir, "swept"))
	if _, err := images.Put("other:latest", randomImage(t)); err != nil {
		t.Fatal(err)
	}
	if left := len(blobs(t, dir)); left >= count {
		t.Errorf("%d blobs of %d are left", left, count)
	}
	standsOn(t, images, build.Result{Image: "fn:latest"}, other)
	log.text = nil
	if again := mustBuildLogged(t, req); again.Digest == "" || log.has("base image tar:") {
		t.Errorf("its layers are there: %q", log.text)
	}
}
