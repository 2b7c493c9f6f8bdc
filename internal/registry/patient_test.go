package registry_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
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

func manifestAsked(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }

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

// Who accepts connections and never says a word, not even for TLS, is named.
func TestAMuteHostIsNamed(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	images, err := registry.NewImages(registry.ImagesConfig{Registry: http.NotFoundHandler(), Dir: t.TempDir(), Patience: 200 * time.Millisecond, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = images.Resolve(t.Context(), mute.Addr().String()+"/echo:1")
	if lofn.CodeOf(err) != lofn.Unavailable || !strings.Contains(err.Error(), mute.Addr().String()+" was asked and then sent nothing for 200ms") {
		t.Errorf("the error is %v", err)
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
