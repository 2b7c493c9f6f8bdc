package build_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"lofn"
	"lofn/internal/build"
)

// gateway is a registry that wants credentials, and counts uploads.
type gateway struct {
	*httptest.Server
	uploads atomic.Int64
}

func newGateway(t *testing.T, start func(http.Handler) *httptest.Server) *gateway {
	t.Helper()
	g := &gateway{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	g.Server = start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "admin" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="lofn"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/blobs/uploads/") {
			g.uploads.Add(1)
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

func TestPushShortNameGoesToTheGateway(t *testing.T) {
	g := newGateway(t, httptest.NewServer)
	images, progress := openImages(t), &lines{}
	want, err := images.Put("prefix/fn:v1", randomImage(t))
	if err != nil {
		t.Fatal(err)
	}
	opts := build.PushOptions{Gateway: g.URL, Username: "admin", Password: "secret", Log: progress}
	digest, err := build.Push(context.Background(), images, "prefix/fn:v1", opts)
	if err != nil || digest != want {
		t.Fatalf("got %s, %v, want %s", digest, err, want)
	}
	ref, err := name.ParseReference(strings.TrimPrefix(g.URL, "http://") + "/prefix/fn:v1")
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Image(ref, remote.WithAuth(&authn.Basic{Username: "admin", Password: "secret"}))
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, pulled)
	if !progress.has("layer 1 of 2: ") || !progress.has("pushed ") {
		t.Errorf("progress %q", progress.text)
	}
	sent := g.uploads.Load()
	progress.text = nil
	if _, err := build.Push(context.Background(), images, "prefix/fn:v1", opts); err != nil {
		t.Fatal(err)
	}
	if g.uploads.Load() != sent || !progress.has("layer 2 of 2: is there already") {
		t.Errorf("%d uploads for what is there already: %q", g.uploads.Load()-sent, progress.text)
	}
}

func TestPushOverTLS(t *testing.T) {
	g := newGateway(t, httptest.NewTLSServer)
	g.Config.ErrorLog = log.New(io.Discard, "", 0)
	images := openImages(t)
	if _, err := images.Put("fn:latest", randomImage(t)); err != nil {
		t.Fatal(err)
	}
	opts := build.PushOptions{Gateway: g.URL, Username: "admin", Password: "secret"}
	if _, err := build.Push(context.Background(), images, "fn:latest", opts); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody vouches for: got %v", err)
	}
	opts.Insecure = true
	if _, err := build.Push(context.Background(), images, "fn:latest", opts); err != nil {
		t.Error(err)
	}
}

func TestPushFullNameGoesToItsRegistry(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	images := openImages(t)
	full := strings.TrimPrefix(server.URL, "http://") + "/fn:v1"
	if _, err := images.Put(full, randomImage(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := build.Push(context.Background(), images, full, build.PushOptions{Gateway: "http://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(full)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Image(ref); err != nil {
		t.Error(err)
	}
}

func TestPushErrors(t *testing.T) {
	g := newGateway(t, httptest.NewServer)
	images := openImages(t)
	if _, err := images.Put("fn:latest", randomImage(t)); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		image string
		opts  build.PushOptions
		code  lofn.Code
		want  string
	}{
		"not built":      {"gone:latest", build.PushOptions{Gateway: g.URL}, lofn.NotFound, "image gone:latest has not been built here"},
		"no credentials": {"fn:latest", build.PushOptions{Gateway: g.URL}, lofn.Unauthenticated, "does not accept the credentials: log in first"},
		"bad gateway":    {"fn:latest", build.PushOptions{Gateway: "127.0.0.1:8080"}, lofn.Invalid, "is not the URL of a platform"},
		"nobody there":   {"fn:latest", build.PushOptions{Gateway: "http://127.0.0.1:1"}, lofn.Unavailable, "push fn:latest to 127.0.0.1:1"},
	} {
		_, err := build.Push(context.Background(), images, c.image, c.opts)
		if err == nil || lofn.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v (code %d), want %q (code %d)", what, err, lofn.CodeOf(err), c.want, c.code)
		}
	}
}

func TestNamesRegistry(t *testing.T) {
	for image, want := range map[string]bool{
		"fn": false, "fn:v1": false, "prefix/fn": false, "docker.io/prefix/fn": true, "localhost/fn": true, "host:5000/fn": true, "a.b": false,
	} {
		if got := build.NamesRegistry(image); got != want {
			t.Errorf("%s: %v", image, got)
		}
	}
}

func TestSize(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1024: "1.0 KiB", 1<<20 - 52: "1023.9 KiB", 1<<20 - 51: "1.0 MiB", 1_234_567: "1.2 MiB", 5 << 30: "5.0 GiB"} {
		if got := build.Size(bytes); got != want {
			t.Errorf("%d: %s, want %s", bytes, got, want)
		}
	}
}

func TestPushToARegistryThatHangs(t *testing.T) {
	for what, hangs := range map[string]func(*http.Request) bool{
		"at once":         func(*http.Request) bool { return true },
		"after an upload": func(r *http.Request) bool { return r.Method == http.MethodPut || r.Method == http.MethodPatch },
	} {
		t.Run(what, func(t *testing.T) {
			host, _ := serveRegistry(t, inMemory(), func(_ http.ResponseWriter, r *http.Request) bool {
				if hangs(r) {
					_, _ = io.Copy(io.Discard, r.Body) // or the server does not notice that the client leaves
					<-r.Context().Done()
				}
				return hangs(r)
			})
			images := openImages(t)
			if _, err := images.Put(host+"/fn:1", randomImage(t)); err != nil {
				t.Fatal(err)
			}
			_, err := build.Push(context.Background(), images, host+"/fn:1", build.PushOptions{Patience: 300 * time.Millisecond})
			if lofn.CodeOf(err) != lofn.Unavailable || !strings.Contains(err.Error(), "push "+host+"/fn:1: "+host+" has been silent for 300ms") {
				t.Errorf("got %v", err)
			}
		})
	}
}
