package registry_test

import (
	"archive/tar"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lofn"
)

// unpack pushes an image of the layers and unpacks it.
func unpack(t *testing.T, layers ...[]byte) (lofn.Image, error) {
	t.Helper()
	b := start(t, t.TempDir())
	dir := filepath.Join(t.TempDir(), "data", "images")
	digest := b.push(t, "echo:1", buildImage(t, layers...))
	image, err := newImages(t, b, dir).Unpack(t.Context(), "echo:1", digest)
	if err != nil {
		if left := list(t, dir); len(left) != 0 {
			t.Errorf("the failure left %q", left)
		}
	}
	return image, err
}

func mustUnpack(t *testing.T, layers ...[]byte) string {
	t.Helper()
	image, err := unpack(t, layers...)
	if err != nil {
		t.Fatal(err)
	}
	return image.Root
}

func TestFilesAreForAnyReader(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	root := mustUnpack(t, layer(
		folder("home/app"),
		withMode(file("home/app/secretive", "s"), 0o600),
		withMode(file("home/app/run", "#!/bin/sh"), 0o4750),
		withMode(file("implicit/folder/file", "f"), 0o000),
		withMode(file("world", "w"), 0o666),
	))
	for name, want := range map[string]fs.FileMode{
		".":                    fs.ModeDir | 0o755,
		"..":                   fs.ModeDir | 0o755,
		"../..":                fs.ModeDir | 0o755,
		"home":                 fs.ModeDir | 0o755,
		"home/app":             fs.ModeDir | 0o755,
		"home/app/secretive":   0o644,
		"home/app/run":         0o755,
		"implicit/folder":      fs.ModeDir | 0o755,
		"implicit/folder/file": 0o644,
		"world":                0o644,
	} {
		info, err := os.Lstat(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode() != want {
			t.Errorf("%s has mode %s, want %s", name, info.Mode(), want)
		}
	}
	if info, err := os.Stat(filepath.Join(root, "home/app/run")); err != nil || !info.ModTime().Equal(modTime) {
		t.Errorf("the file's time is %v, %v, want %v", info.ModTime(), err, modTime)
	}
}

func TestLayersBuildOnEachOther(t *testing.T) {
	root := mustUnpack(t,
		layer(
			file("kept", "1"), file("replaced", "1"), file("removed", "1"),
			file("dir/removed", "1"), file("dir/kept", "1"),
			file("opaque/old", "1"), file("opaque/sub/old", "1"), file("opaque/both/old", "1"),
			file("gone/with/all", "1"), file("was-file", "1"), file("was-dir/file", "1"),
			file("usr/lib/a", "1"), symlink("lib", "usr/lib"), symlink("abs", "/usr/lib"),
			symlink("link-to-replace", "kept"),
		),
		layer(
			file("replaced", "2"), file(".wh.removed", ""), file("dir/.wh.removed", ""),
			file("opaque/new", "2"), file("opaque/both/new", "2"), file("opaque/.wh..wh..opq", ""),
			file(".wh.gone", ""), file(".wh.never-was", ""), file(".wh..wh.plnk", ""),
			file("was-file/now-below", "2"), file("was-dir", "2"),
			file("lib/b", "2"), file("abs/c", "2"), file("link-to-replace", "2"),
			hardlink("hard", "kept"),
		),
	)
	for name, want := range map[string]string{
		"kept": "1", "replaced": "2", "dir/kept": "1", "opaque/new": "2", "opaque/both/new": "2",
		"was-dir": "2", "usr/lib/a": "1", "usr/lib/b": "2", "usr/lib/c": "2",
		"link-to-replace": "2", "hard": "1",
	} {
		if got := read(t, root, name); got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{
		"removed", "dir/removed", "opaque/old", "opaque/sub", "opaque/both/old", "gone",
		".wh.removed", "opaque/.wh..wh..opq", ".wh..wh.plnk", ".wh.never-was",
	} {
		if exists(root, name) {
			t.Errorf("%s is there", name)
		}
	}
	for link, want := range map[string]string{"lib": "usr/lib", "abs": "/usr/lib"} {
		if got, err := os.Readlink(filepath.Join(root, link)); err != nil || got != want {
			t.Errorf("%s points to %q, %v, want %q", link, got, err, want)
		}
	}
}

func TestSpecialFilesAreLeftOut(t *testing.T) {
	root := mustUnpack(t, layer(
		special("dev/null", tar.TypeChar), special("dev/sda", tar.TypeBlock), special("pipe", tar.TypeFifo),
		entry{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}},
		file("file", "f"),
	))
	for _, name := range []string{"dev/null", "dev/sda", "pipe"} {
		if exists(root, name) {
			t.Errorf("%s is there", name)
		}
	}
	if got := read(t, root, "file"); got != "f" {
		t.Errorf("the file after them has %q", got)
	}
}

// A hostile image must not read or change anything outside of its folder,
// whether it is refused or tamed.
func TestHostileLayers(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "victim"), []byte("untouched"), 0o644); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 30)
	for _, test := range []struct {
		name    string
		layers  [][]byte
		refused bool
	}{
		{"dots", [][]byte{layer(file(up+outside[1:]+"/victim", "changed"))}, true},
		{"dots inside the name", [][]byte{layer(file("a/../../"+up+outside[1:]+"/victim", "changed"))}, true},
		{"absolute name", [][]byte{layer(file(outside+"/victim", "changed"))}, false},
		{"absolute symbolic link", [][]byte{layer(symlink("link", outside), file("link/victim", "changed"))}, false},
		{"relative symbolic link", [][]byte{layer(symlink("link", up+outside[1:]), file("link/victim", "changed"))}, false},
		{"symbolic link over layers", [][]byte{layer(symlink("a/link", outside)), layer(file("a/link/victim", "changed"))}, false},
		{"symbolic link to the file", [][]byte{layer(symlink("link", outside+"/victim"), file("link", "changed"))}, false},
		{"chain of symbolic links", [][]byte{layer(symlink("a", up), symlink("b", "a"+outside), file("b/victim", "changed"))}, false},
		{"folder over a symbolic link", [][]byte{layer(symlink("link", outside), folder("link"))}, false},
		{"hard link", [][]byte{layer(hardlink("link", up+outside[1:]+"/victim"))}, true},
		{"hard link by absolute name", [][]byte{layer(hardlink("link", outside+"/victim"))}, true},
		{"hard link through a symbolic link", [][]byte{layer(symlink("s", outside), hardlink("link", "s/victim"), file("link", "changed"))}, true},
		{"hard link to a symbolic link", [][]byte{layer(symlink("s", outside+"/victim"), hardlink("link", "s"), file("link", "changed"))}, false},
		{"whiteout of dots", [][]byte{layer(file("a/.wh...", ""))}, true},
		{"whiteout of everything", [][]byte{layer(file(".wh..", ""))}, true},
		{"whiteout through a symbolic link", [][]byte{layer(symlink("link", outside)), layer(file("link/.wh.victim", ""))}, false},
		{"opaque through a symbolic link", [][]byte{layer(symlink("link", outside)), layer(file("link/.wh..wh..opq", ""))}, false},
		{"loop of symbolic links", [][]byte{layer(symlink("a", "b"), symlink("b", "a"), file("a/file", ""))}, true},
		{"file as a folder", [][]byte{layer(file("f", ""), file("f/g", "changed"))}, false},
		{"name that is too long", [][]byte{layer(file(strings.Repeat("n", 300), ""))}, true},
		{"not an archive", [][]byte{[]byte(strings.Repeat("not a tar archive", 100))}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			image, err := unpack(t, test.layers...)
			if test.refused && lofn.CodeOf(err) != lofn.Invalid {
				t.Errorf("got %q, %v, want code Invalid", image.Root, err)
			}
			if !test.refused && err != nil {
				t.Errorf("got %v, want it tamed", err)
			}
			if got := read(t, outside, "victim"); got != "untouched" {
				t.Errorf("the file outside has %q", got)
			}
			if got := list(t, outside); len(got) != 1 {
				t.Errorf("the folder outside has %q", got)
			}
		})
	}
}
