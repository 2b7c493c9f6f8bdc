package containerdtest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// File is one file of an image.
type File struct {
	// Path has no slash at its beginning. With one at its end it is a folder.
	Path    string
	Mode    int64
	Content []byte
	// Link is the target of a symbolic link, which has no Content.
	Link string
	// UID and GID are who owns it.
	UID, GID int
}

func (f File) header() *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Mode: f.Mode, Size: int64(len(f.Content)), Uid: f.UID, Gid: f.GID}
	switch {
	case f.Link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.Link
	case strings.HasSuffix(f.Path, "/"):
		h.Typeflag = tar.TypeDir
	}
	return h
}

// Image returns an image for this machine with one layer that holds the files,
// and config as its configuration.
func Image(t testing.TB, config v1.Config, files ...File) v1.Image {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	dirs := map[string]bool{".": true}
	for _, f := range files {
		for dir := filepath.Dir(strings.TrimSuffix(f.Path, "/")); !dirs[dir]; dir = filepath.Dir(dir) {
			dirs[dir] = true
			write(t, w, &tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, nil)
		}
		write(t, w, f.header(), f.Content)
		dirs[strings.TrimSuffix(f.Path, "/")] = true
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, static.NewLayer(b.Bytes(), types.OCIUncompressedLayer))
	if err == nil {
		var file *v1.ConfigFile
		if file, err = image.ConfigFile(); err == nil {
			file = file.DeepCopy()
			file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
			image, err = mutate.ConfigFile(image, file)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func write(t testing.TB, w *tar.Writer, header *tar.Header, content []byte) {
	t.Helper()
	if err := w.WriteHeader(header); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
}

// Answer returns an image with nothing in it but the program of testdata/answer,
// which says what it does. Variables of its environment may be added.
func Answer(t testing.TB, env ...string) v1.Image {
	t.Helper()
	return Image(t, v1.Config{Entrypoint: []string{"/answer"}, Env: env, WorkingDir: "/"},
		File{Path: "answer", Mode: 0o755, Content: Program(t, "lofn/internal/provider/containerd/containerdtest/testdata/answer")},
		File{Path: "etc/passwd", Mode: 0o644, Content: []byte("root:x:0:0::/:/answer\napp:x:100:101::/:/answer\n")},
	)
}

// built holds programs by package: each is built once.
var built = new(sync.Map)

// Program returns a package of this module as a static program.
func Program(t testing.TB, pkg string) []byte {
	t.Helper()
	once, _ := built.LoadOrStore(pkg, sync.OnceValues(func() ([]byte, error) { return build(pkg) }))
	content, err := once.(func() ([]byte, error))()
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func build(pkg string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "program")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "program")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", file, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", pkg, err, output)
	}
	return os.ReadFile(file)
}
