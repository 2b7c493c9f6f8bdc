package registry_test

import (
	"archive/tar"
	"bytes"
	"io"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"lofn"
)

// entry is one member of a layer.
type entry struct {
	tar.Header
	content string
}

var modTime = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)

func file(name, content string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: modTime}, content: content}
}

func withMode(e entry, mode int64) entry {
	e.Mode = mode
	return e
}

func folder(name string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o700}}
}

func symlink(name, target string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}}
}

func hardlink(name, target string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}}
}

func special(name string, kind byte) entry {
	return entry{Header: tar.Header{Typeflag: kind, Name: name, Mode: 0o666, Devmajor: 1, Devminor: 3}}
}

// layer is an uncompressed tar of the entries.
func layer(entries ...entry) []byte {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, e := range entries {
		header := e.Header
		header.Size = int64(len(e.content))
		if err := w.WriteHeader(&header); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buffer.Bytes()
}

// buildImage makes an image as lofn build does, of the layers' tars.
func buildImage(t testing.TB, layers ...[]byte) v1.Image {
	t.Helper()
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS:           "linux",
		Architecture: "amd64",
		Config: v1.Config{
			Env:        []string{"mode=http", "fprocess=python3 index.py"},
			WorkingDir: lofn.AppDir,
			Entrypoint: []string{"fwatchdog"},
			Cmd:        []string{"--flag"},
			Labels:     map[string]string{lofn.LabelRuntime: lofn.RuntimeHost},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range layers {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if image, err = mutate.AppendLayers(image, l); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

// lockedBuffer is a bytes.Buffer for several goroutines.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
