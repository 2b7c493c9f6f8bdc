package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"lofn"
	"lofn/internal/registry"
)

// far is a registry elsewhere, that may misbehave.
type far struct {
	http.Handler
	images *registry.Images
	// before sees requests first, and answers those for which it returns true.
	before func(w http.ResponseWriter, r *http.Request) bool
}

const farName = "hub.example/team/echo:1"

func newFar(t *testing.T, image v1.Image) *far {
	t.Helper()
	f := &far{Handler: ggcr.New(ggcr.Logger(slog.NewLogLogger(slog.DiscardHandler, 0)))}
	ref, err := name.ParseReference(farName)
	if err == nil {
		err = remote.Write(ref, image, remote.WithTransport(registry.InProcess(f.Handler)))
	}
	if err != nil {
		t.Fatal(err)
	}
	transport := registry.InProcess(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.before == nil || !f.before(w, r) {
			f.ServeHTTP(w, r)
		}
	}))
	f.images, err = registry.NewImages(registry.ImagesConfig{Registry: http.NotFoundHandler(), Dir: t.TempDir(), Transport: transport, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// readLayer reads the first layer of the image.
func (f *far) readLayer(ctx context.Context, image v1.Image) ([]byte, error) {
	digest, err := image.Digest()
	if err != nil {
		return nil, err
	}
	opened, err := f.images.Open(ctx, farName, digest.String(), nil)
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

func manifestAsked(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }
func layerAsked(r *http.Request) bool    { return strings.Contains(r.URL.Path, "/blobs/") }

func TestWhatPassesIsWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		fail  func(w http.ResponseWriter)
		times int
		takes time.Duration
	}{
		"500, then it works":       {func(w http.ResponseWriter) { w.WriteHeader(500) }, 2, 3 * time.Second},
		"503 with a time":          {func(w http.ResponseWriter) { w.Header().Set("Retry-After", "5"); w.WriteHeader(503) }, 1, 5 * time.Second},
		"429 with a time":          {func(w http.ResponseWriter) { w.Header().Set("Retry-After", "20"); w.WriteHeader(429) }, 3, time.Minute},
		"429 without one":          {func(w http.ResponseWriter) { w.WriteHeader(429) }, 1, time.Second},
		"a time that has passed":   {func(w http.ResponseWriter) { w.Header().Set("Retry-After", "-1"); w.WriteHeader(429) }, 1, time.Second},
		"a time that is no number": {func(w http.ResponseWriter) { w.Header().Set("Retry-After", "soon"); w.WriteHeader(429) }, 1, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFar(t, echo(t, 1))
				f.before = func(w http.ResponseWriter, r *http.Request) bool {
					if !manifestAsked(r) || c.times == 0 {
						return false
					}
					c.times--
					c.fail(w)
					return true
				}
				began := time.Now()
				if _, err := f.images.Resolve(t.Context(), farName); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took != c.takes {
					t.Errorf("it took %v, want %v", took, c.takes)
				}
			})
		})
	}
}

func TestWhatDoesNotPassIsToldWithTheRegistrysName(t *testing.T) {
	status := func(status int, header ...string) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			if len(header) > 0 {
				w.Header().Set(header[0], header[1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"errors":[{"code":"X","message":"the registry's own words"}]}`)
		}
	}
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		code   lofn.Code
		says   string
		after  time.Duration
		asked  int64
	}{
		"500":             {status(500), lofn.Unavailable, "the registry's own words", 7 * time.Second, 4},
		"429":             {status(429), lofn.Unavailable, "too many requests", 7 * time.Second, 4},
		"429 for an hour": {status(429, "Retry-After", "3600"), lofn.Unavailable, "asks to come back in 1h0m0s: GET", 0, 1},
		"401":             {status(401), lofn.Invalid, lofn.AnnotationPullSecret, 0, 1},
		"403":             {status(403), lofn.Invalid, "refuses access", 0, 1},
		"404":             {status(404), lofn.Invalid, "does not exist at hub.example", 0, 1},
		"silence":         {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, lofn.Unavailable, "hub.example was asked and then sent nothing for 30s", 30 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFar(t, echo(t, 1))
				var asked atomic.Int64
				f.before = func(w http.ResponseWriter, r *http.Request) bool {
					if manifestAsked(r) {
						asked.Add(1)
						c.answer(w, r)
					}
					return manifestAsked(r)
				}
				began := time.Now()
				_, err := f.images.Resolve(t.Context(), farName)
				if lofn.CodeOf(err) != c.code || err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "hub.example") {
					t.Errorf("the error is %v (code %d)", err, lofn.CodeOf(err))
				}
				if took := time.Since(began); took != c.after || asked.Load() != c.asked {
					t.Errorf("it took %v and %d requests, want %v and %d", took, asked.Load(), c.after, c.asked)
				}
			})
		})
	}
}

func TestRetryAfterReachesTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, echo(t, 1))
		f.before = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}
		_, err := f.images.Resolve(t.Context(), farName)
		told, ok := errors.AsType[*lofn.Error](err)
		if !ok || told.RetryAfter != time.Hour {
			t.Errorf("the error is %+v", err)
		}
	})
}

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
				got, err := f.readLayer(t.Context(), image)
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
				_, err := f.readLayer(t.Context(), image)
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
