package content_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

func synchronous(ctx context.Context, o *images.DeleteOptions) error {
	return images.SynchronousDelete()(ctx, o)
}

func digestFrom(text string) digest.Digest { return digest.Digest(text) }

// tarOf is a layer with one file.
func tarOf(t testing.TB, path, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// squeezed is a layer as builders write it.
type squeezed struct {
	kind              types.MediaType
	plain, compressed []byte
}

func compressed(t testing.TB, kind types.MediaType, plain []byte) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if kind == types.OCILayerZStd {
		var err error
		if w, err = zstd.NewWriter(&b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return squeezed{kind, plain, b.Bytes()}
}

func hash(content []byte) (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(content))
	return h, err
}

func (s squeezed) Digest() (v1.Hash, error)            { return hash(s.compressed) }
func (s squeezed) DiffID() (v1.Hash, error)            { return hash(s.plain) }
func (s squeezed) Size() (int64, error)                { return int64(len(s.compressed)), nil }
func (s squeezed) MediaType() (types.MediaType, error) { return s.kind, nil }

func (s squeezed) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.compressed)), nil
}

func (s squeezed) Uncompressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.plain)), nil
}

// runnable gives an image a command, for this machine.
func runnable(t testing.TB, image v1.Image) v1.Image {
	t.Helper()
	return configured(t, image, func(c *v1.ConfigFile) {
		c.OS, c.Architecture, c.Config.Cmd = "linux", runtime.GOARCH, []string{"/bin/serve"}
	})
}

func configured(t testing.TB, image v1.Image, change func(*v1.ConfigFile)) v1.Image {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	change(config)
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

// slowly answers with this many bytes of what is larger, and with the rest when
// more is closed.
func (h *hub) slowly(first int, more <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		h.real.ServeHTTP(answer, r)
		for key, values := range answer.Header() {
			w.Header()[key] = values
		}
		w.WriteHeader(answer.Code)
		body := answer.Body.Bytes()
		if len(body) > first {
			_, _ = w.Write(body[:first])
			body = body[first:]
			_ = http.NewResponseController(w).Flush()
			select {
			case <-more:
			case <-r.Context().Done():
				return
			}
		}
		_, _ = w.Write(body)
	}
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
