package registry_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// readLayer reads the first layer of the image.
func (f *far) readLayer(ctx context.Context, name string, image v1.Image) ([]byte, error) {
	digest, err := image.Digest()
	if err != nil {
		return nil, err
	}
	opened, err := f.images.Open(ctx, name, digest.String(), nil)
	if err != nil {
		return nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(opened.Manifest))
	if err != nil {
		return nil, err
	}
	blob, err := opened.Blob(ctx, m.Layers[0].Digest.String())
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	return io.ReadAll(blob)
}

func layerAsked(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/") }

// breaking serves one layer in three pieces, each in an answer of its own that
// breaks off.
type breaking struct {
	content []byte
	// ranges and length are what it can: continue, and tell how much will come.
	ranges, length bool
	// end is how an answer ends, other than by the connection's end.
	end    func(r *http.Request)
	pieces int
	served int
}

func (b *breaking) serve(w http.ResponseWriter, r *http.Request) bool {
	if !layerAsked(r) {
		return false
	}
	b.served++
	from, until := 0, len(b.content)*b.served/b.pieces
	status := http.StatusOK
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && b.ranges {
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(b.content)-1, len(b.content)))
	} else {
		from = 0
	}
	if b.length {
		w.Header().Set("Content-Length", strconv.Itoa(len(b.content)-from))
	}
	w.WriteHeader(status)
	_, _ = w.Write(b.content[from:max(from, until)])
	if until < len(b.content) {
		if b.end != nil {
			b.end(r)
		}
		panic(http.ErrAbortHandler)
	}
	return true
}

// firstLayer is a layer as a registry has it.
func firstLayer(t *testing.T, image v1.Image) []byte {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	blob, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(blob)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// A layer that breaks off is continued, whatever way the registry has for that.
func TestALayerIsContinued(t *testing.T) {
	silent := func(r *http.Request) { <-r.Context().Done() }
	for name, b := range map[string]*breaking{
		"from where it was":          {ranges: true, length: true},
		"after silence":              {ranges: true, length: true, end: silent},
		"from the beginning":         {length: true},
		"of a length not told":       {ranges: true},
		"anew, of a length not told": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				image := echo(t, 1)
				f := newFar(t, image)
				b.content, b.pieces = firstLayer(t, image), 3
				f.before = b.serve
				got, err := f.readLayer(t.Context(), farName, image)
				if err != nil || !bytes.Equal(got, b.content) {
					t.Errorf("got %d of %d bytes, and %v", len(got), len(b.content), err)
				}
				if b.served != b.pieces {
					t.Errorf("it was asked %d times, want %d", b.served, b.pieces)
				}
			})
		})
	}
}

func TestALayerIsContinuedOverTheNetwork(t *testing.T) {
	image := echo(t, 1)
	real := ggcr.New(ggcr.Logger(slog.NewLogLogger(slog.DiscardHandler, 0)))
	b := &breaking{content: firstLayer(t, image), pieces: 2, ranges: true, length: true}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !b.serve(w, r) {
			real.ServeHTTP(w, r)
		}
	}))
	defer server.Close()
	full := server.Listener.Addr().String() + "/team/echo:1"
	ref, err := name.ParseReference(full)
	if err == nil {
		err = remote.Write(ref, image)
	}
	if err != nil {
		t.Fatal(err)
	}
	f := &far{images: newImages(t, http.NotFoundHandler(), t.TempDir())}
	got, err := f.readLayer(t.Context(), full, image)
	if err != nil || !bytes.Equal(got, b.content) || b.served != 2 {
		t.Errorf("got %d of %d bytes in %d pieces, and %v", len(got), len(b.content), b.served, err)
	}
}

func TestALayerThatCannotBeHadEndsWithAnError(t *testing.T) {
	image := echo(t, 1)
	content := firstLayer(t, image)
	other := slices.Clone(content)
	other[len(other)/2] ^= 1
	never := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		if r.Header.Get("Range") == "" {
			_, _ = w.Write(content[:10])
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusBadGateway)
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"cut off":             {never, fmt.Sprintf("hub.example broke off after 10 of %d bytes", len(content))},
		"with another digest": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(other) }, "hub.example sent something else than the digest says"},
		"too short":           {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content[:10]) }, "hub.example sent something else than the digest says"},
		"missing":             {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, "does not exist at hub.example"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFar(t, image)
				f.before = func(w http.ResponseWriter, r *http.Request) bool {
					if layerAsked(r) {
						c.answer(w, r)
					}
					return layerAsked(r)
				}
				_, err := f.readLayer(t.Context(), farName, image)
				if err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), `image: "`+farName) {
					t.Errorf("the error is %v", err)
				}
			})
		})
	}
}

func TestAReaderMayTakeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		image := echo(t, 1)
		f := newFar(t, image)
		digest, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		opened, err := f.images.Open(t.Context(), farName, digest.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := v1.ParseManifest(bytes.NewReader(opened.Manifest))
		if err != nil {
			t.Fatal(err)
		}
		blob, err := opened.Blob(t.Context(), m.Layers[0].Digest.String())
		if err != nil {
			t.Fatal(err)
		}
		defer blob.Close()
		time.Sleep(time.Hour)
		if got, err := io.ReadAll(blob); err != nil || len(got) == 0 {
			t.Errorf("got %d bytes, and %v", len(got), err)
		}
	})
}
