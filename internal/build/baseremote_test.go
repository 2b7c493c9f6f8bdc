package build_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"lofn"
	"lofn/internal/build"
	own "lofn/internal/registry"
)

// requests notes what a server is asked.
type requests struct {
	mu   sync.Mutex
	seen []string
}

func (r *requests) add(req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, req.Method+" "+req.URL.String())
}

// count returns how many requests had all the parts.
func (r *requests) count(parts ...string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
next:
	for _, s := range r.seen {
		for _, part := range parts {
			if !strings.Contains(s, part) {
				continue next
			}
		}
		n++
	}
	return n
}

// serve starts a server in front of a handler; answers, if not nil, may answer
// instead of it.
func serveRegistry(t *testing.T, handler http.Handler, answers func(http.ResponseWriter, *http.Request) bool) (host string, seen *requests) {
	t.Helper()
	seen = &requests{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.add(r)
		if answers == nil || !answers(w, r) {
			handler.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), seen
}

func inMemory() http.Handler { return registry.New(registry.Logger(log.New(io.Discard, "", 0))) }

// builtIn is lofn's own registry.
func builtIn(t *testing.T) http.Handler {
	t.Helper()
	r, err := own.New(own.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func reference(t *testing.T, text string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestBaseFromARegistryIsFetchedOnce(t *testing.T) {
	host, seen := serveRegistry(t, inMemory(), nil)
	index := baseIndex(t, "s390x", runtime.GOARCH)
	if err := remote.WriteIndex(reference(t, host+"/bases/bash:5"), index); err != nil {
		t.Fatal(err)
	}
	req, progress := containerRequest(t, "bash-streaming", host+"/bases/bash:5"), &lines{}
	req.Log = progress
	result := mustBuildLogged(t, req)
	if !progress.has("base image " + host + "/bases/bash:5: reading ") {
		t.Errorf("no word of the base image: %q", progress.text)
	}
	standsOn(t, req.Images, result, baseImage(t, runtime.GOARCH))
	image, _ := get(t, req.Images, result.Image)
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.Annotations["org.opencontainers.image.base.name"] != host+"/bases/bash:5" || !strings.HasPrefix(manifest.Annotations["org.opencontainers.image.base.digest"], "sha256:") {
		t.Errorf("annotations %v", manifest.Annotations)
	}
	asked := seen.count()
	req.Name, req.NoCache = "fn2", true
	if again := mustBuildLogged(t, req); again.Digest != result.Digest || seen.count() != asked {
		t.Errorf("%d more requests, digest %s", seen.count()-asked, again.Digest)
	}
	if err := remote.Write(reference(t, host+"/bases/bash:5"), baseImage(t, runtime.GOARCH, "NEW=1")); err != nil {
		t.Fatal(err)
	}
	if kept := mustBuildLogged(t, req); kept.Digest != result.Digest {
		t.Error("the kept base was not used")
	}
	req.Pull = true
	if fresh := mustBuildLogged(t, req); fresh.Digest == result.Digest {
		t.Error("Pull did not ask what the name means now")
	}
}

// TestBadRegistries builds on a base in a registry that fails in each way.
func TestBadRegistries(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(code)
			return true
		}
	}
	hang := func(r *http.Request) { <-r.Context().Done() }
	isLayer := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/") }
	for what, c := range map[string]struct {
		answers func(http.ResponseWriter, *http.Request) bool
		code    lofn.Code
		want    string
	}{
		"401": {status(401), lofn.Unauthenticated, "refuses access (401): check the name, and log in with docker login"},
		"403": {status(403), lofn.Unauthenticated, "refuses access (403)"},
		"404": {status(404), lofn.NotFound, "has no such image"},
		"429": {status(429), lofn.Unavailable, "takes no more requests from here for now (429): wait, log in, or name a mirror"},
		"500": {status(500), lofn.Unavailable, "answers 500 Internal Server Error: try again later"},
		"500 for layers": {func(w http.ResponseWriter, r *http.Request) bool {
			return isLayer(r) && status(500)(w, r)
		}, lofn.Unavailable, "answers 500 Internal Server Error"},
		"hangs": {func(_ http.ResponseWriter, r *http.Request) bool {
			hang(r)
			return true
		}, lofn.Unavailable, "has been silent for 300ms: try again later"},
		"hangs in a layer": {func(w http.ResponseWriter, r *http.Request) bool {
			if !isLayer(r) || r.Method == http.MethodHead {
				return false
			}
			_, _ = w.Write([]byte{0x1f})
			w.(http.Flusher).Flush()
			hang(r)
			return true
		}, lofn.Unavailable, "has been silent for 300ms"},
		"bad digest": {func(w http.ResponseWriter, r *http.Request) bool {
			if isLayer(r) {
				fmt.Fprint(w, strings.Repeat("x", 100))
			}
			return isLayer(r)
		}, lofn.Unavailable, "sha256:"},
		"bad manifest": {func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
				fmt.Fprint(w, "{")
			}
			return strings.Contains(r.URL.Path, "/manifests/")
		}, lofn.Unavailable, "unexpected EOF"},
	} {
		t.Run(what, func(t *testing.T) {
			memory := inMemory()
			plain, _ := serveRegistry(t, memory, nil)
			if err := remote.Write(reference(t, plain+"/bash:5"), baseImage(t, runtime.GOARCH)); err != nil {
				t.Fatal(err)
			}
			host, _ := serveRegistry(t, memory, c.answers)
			dir := t.TempDir()
			images, err := build.OpenImages(dir)
			if err != nil {
				t.Fatal(err)
			}
			req := containerRequest(t, "bash-streaming", host+"/bash:5")
			req.Images, req.Patience = images, 300*time.Millisecond
			if !strings.HasPrefix(what, "hangs") {
				req.Patience = time.Minute // it is asked again, with pauses
			}
			_, err = build.Build(context.Background(), req)
			if lofn.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), host) {
				t.Errorf("got %v (%v), want %q", err, lofn.CodeOf(err), c.want)
			}
			nothingHalf(t, dir)
			// What failed is not in the way of what works.
			req.Base = plain + "/bash:5"
			mustBuild(t, req)
		})
	}
}

func TestRegistryThatIsNotThere(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := listener.Addr().String()
	_ = listener.Close()
	_, err = build.Build(context.Background(), containerRequest(t, "bash-streaming", host+"/bash:5"))
	if lofn.CodeOf(err) != lofn.Unavailable || !strings.Contains(err.Error(), host+" cannot be reached: ") || !strings.Contains(err.Error(), "connection refused: name another with --base") {
		t.Errorf("got %v", err)
	}
}

func TestCredentialsOfPodman(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("DOCKER_CONFIG", "")
	t.Setenv("REGISTRY_AUTH_FILE", "")
	t.Setenv("XDG_CONFIG_HOME", "")
	runtimeDir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtimeDir)
	memory := inMemory()
	plain, _ := serveRegistry(t, memory, nil)
	if err := remote.Write(reference(t, plain+"/team/bash:5"), baseImage(t, runtime.GOARCH)); err != nil {
		t.Fatal(err)
	}
	host, _ := serveRegistry(t, memory, func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user == "me" && password == "secret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	req := containerRequest(t, "bash-streaming", host+"/team/bash:5")
	if _, err := build.Build(context.Background(), req); lofn.CodeOf(err) != lofn.Unauthenticated {
		t.Errorf("without credentials: %v", err)
	}
	auth := base64.StdEncoding.EncodeToString([]byte("me:secret"))
	for what, file := range map[string]string{"runtime folder": filepath.Join(runtimeDir, "containers"), "home": filepath.Join(os.Getenv("HOME"), ".config", "containers")} {
		// A file of Docker's is no reason not to look into podman's.
		write(t, filepath.Join(os.Getenv("HOME"), ".docker"), "config.json", `{"auths": {}}`)
		write(t, file, "auth.json", fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, host+"/team", auth))
		req.Images = openImages(t)
		if _, err := build.Build(context.Background(), req); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if err := os.RemoveAll(file); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(runtimeDir, "mine.json"))
	write(t, runtimeDir, "mine.json", "{")
	if _, err := build.Build(context.Background(), build.Request{
		Name: "fn", Lang: req.Lang, Handler: req.Handler, Dir: req.Dir, Images: openImages(t), Runtime: req.Runtime, Base: req.Base, Watchdogs: req.Watchdogs,
	}); err == nil || !strings.Contains(err.Error(), "mine.json: ") {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestPushTakesTheBaseFromItsRepository(t *testing.T) {
	host, seen := serveRegistry(t, builtIn(t), nil)
	if err := remote.Write(reference(t, host+"/bases/bash:5"), baseImage(t, runtime.GOARCH)); err != nil {
		t.Fatal(err)
	}
	req := containerRequest(t, "bash-streaming", host+"/bases/bash:5")
	req.Image = host + "/functions/fn:1"
	result := mustBuild(t, req)
	progress := &lines{}
	sentBefore := seen.count("PUT ", "/blobs/uploads/")
	digest, err := build.Push(context.Background(), req.Images, req.Image, build.PushOptions{Log: progress})
	if err != nil || digest != result.Digest {
		t.Fatalf("got %s, %v, want %s", digest, err, result.Digest)
	}
	if !progress.has("layer 1 of 3: taken from bases/bash") || !progress.has("layer 2 of 3: ") {
		t.Errorf("progress %q", progress.text)
	}
	// The two layers of its own, and the configuration.
	if sent := seen.count("PUT ", "/blobs/uploads/") - sentBefore; sent != 3 {
		t.Errorf("%d blobs were sent", sent)
	}
	pulled, err := remote.Image(reference(t, req.Image))
	if err != nil {
		t.Fatal(err)
	}
	checkLayers(t, pulled, baseImage(t, runtime.GOARCH))
}

// What one function has brought the next one need not.
func TestPushTakesTheBaseFromAnotherFunction(t *testing.T) {
	host, _ := serveRegistry(t, builtIn(t), nil)
	req := containerRequest(t, "bash-streaming", "oci:"+imageLayout(t, baseImage(t, runtime.GOARCH)))
	opts := build.PushOptions{Gateway: "http://" + host}
	for _, name := range []string{"one", "two"} {
		req.Name, req.Image = name, "team/"+name+":1"
		write(t, req.Dir, "fn/own.txt", name)
		mustBuild(t, req)
		progress := &lines{}
		opts.Log = progress
		if _, err := build.Push(context.Background(), req.Images, req.Image, opts); err != nil {
			t.Fatal(err)
		}
		taken := progress.has("layer 1 of 3: taken from team/one") && progress.has("layer 2 of 3: taken from team/one")
		if taken != (name == "two") || !slices.ContainsFunc(progress.text, func(s string) bool { return strings.HasPrefix(s, "layer 3 of 3: ") && strings.HasSuffix(s, " sent\n") }) {
			t.Errorf("%s: %q", name, progress.text)
		}
	}
}

// TestSeveralPlatforms goes all the way: built, pushed to lofn's own registry,
// and found there by who asks for one of the platforms.
func TestSeveralPlatforms(t *testing.T) {
	unlessShort(t)
	host, _ := serveRegistry(t, builtIn(t), nil)
	req := containerRequest(t, "golang-middleware", "")
	req.Image, req.Platforms = "prefix/fn:1", []string{"linux/amd64", "linux/arm64", "linux/amd64"}
	result := mustBuild(t, req)
	if again := mustBuild(t, req); !again.Cached || again.Digest != result.Digest || again.Size != result.Size {
		t.Errorf("second build: %+v after %+v", again, result)
	}
	other := containerRequest(t, "golang-middleware", "")
	other.Image, other.Platforms = req.Image, req.Platforms
	if elsewhere := mustBuild(t, other); elsewhere.Digest != result.Digest {
		t.Errorf("built elsewhere it is %s and not %s", elsewhere.Digest, result.Digest)
	}
	digest, err := build.Push(context.Background(), req.Images, req.Image, build.PushOptions{Gateway: "http://" + host})
	if err != nil || digest != result.Digest {
		t.Fatalf("got %s, %v, want %s", digest, err, result.Digest)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := remote.Image(reference(t, host+"/prefix/fn:1"), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil || config.Architecture != arch {
			t.Errorf("for %s it is for %s, %v", arch, config.Architecture, err)
		}
		root := t.TempDir()
		extract(t, image, root)
		for _, program := range []string{"usr/bin/fwatchdog", "home/app/handler"} {
			if got := machine(t, filepath.Join(root, program)); got != arch {
				t.Errorf("%s for %s is for %s", program, arch, got)
			}
		}
	}
}

// A function without machine code is for all platforms that its base is for.
func TestSeveralPlatformsOfAnInterpreter(t *testing.T) {
	host, _ := serveRegistry(t, inMemory(), nil)
	if err := remote.WriteIndex(reference(t, host+"/bash:5"), baseIndex(t, "amd64", "arm64")); err != nil {
		t.Fatal(err)
	}
	req := containerRequest(t, "bash-streaming", host+"/bash:5")
	req.Platforms = []string{"linux/amd64", "linux/arm64"}
	_, config := get(t, req.Images, mustBuild(t, req).Image)
	if config.Architecture != runtime.GOARCH {
		t.Errorf("this machine's is for %s", config.Architecture)
	}
	write(t, req.Dir, "fn/tool", "\x7fELF\x02\x01\x01"+strings.Repeat("\x00", 9)+"\x02\x00\xb7\x00"+"rest")
	_, err := build.Build(context.Background(), req)
	if err == nil || !strings.Contains(err.Error(), "machine code for arm64 (/home/app/function/tool), and the image is for linux/amd64: build it on a machine of that kind") {
		t.Errorf("got %v", err)
	}
}
