package registry_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"lofn/internal/registry"
)

// built is a registry as the platform runs it, and a server that pushes reach.
type built struct {
	*registry.Registry
	dir  string
	host string
}

func start(t *testing.T, dir string) built {
	t.Helper()
	r, err := registry.New(registry.Config{Dir: dir, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(r)
	t.Cleanup(func() {
		server.Close()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return built{Registry: r, dir: dir, host: strings.TrimPrefix(server.URL, "http://")}
}

// testLog writes to the test's log. The test must not end before the registry.
func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (b built) push(t *testing.T, repository string, image v1.Image) string {
	t.Helper()
	ref, err := name.ParseReference(b.host + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func TestPushSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	image := buildImage(t, layer(file("home/app/index.py", "print(1)")))
	digest := start(t, dir).push(t, "echo:1.0", image)
	again := start(t, dir)
	ref, err := name.ParseReference(again.host + "/echo:1.0")
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := pulled.Digest(); err != nil || got.String() != digest {
		t.Errorf("pulled %s, %v, want %s", got, err, digest)
	}
}

func TestCorruptBlobIsRefused(t *testing.T) {
	b := start(t, t.TempDir())
	claimed := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("what was promised")))
	status := b.upload(t, "echo", []byte("what came"), claimed)
	if status != http.StatusBadRequest {
		t.Errorf("a blob with another content than its digest says: status %d, want 400", status)
	}
	response, err := http.Head("http://" + b.host + "/v2/echo/blobs/" + claimed)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("the refused blob answers %d, want 404", response.StatusCode)
	}
}

func TestManifestWithoutItsBlobsIsRefused(t *testing.T) {
	b := start(t, t.TempDir())
	manifest, err := buildImage(t, layer(file("a", "a"))).RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	status := b.send(t, http.MethodPut, "/v2/echo/manifests/latest", "application/vnd.docker.distribution.manifest.v2+json", manifest)
	if status != http.StatusNotFound && status != http.StatusBadRequest {
		t.Errorf("a manifest whose blobs are missing: status %d, want a refusal", status)
	}
	if status := b.send(t, http.MethodPut, "/v2/echo/manifests/latest", "application/json", []byte("{")); status != http.StatusBadRequest {
		t.Errorf("a manifest that is none: status %d, want 400", status)
	}
}

func TestUploadsOfAnEarlierProcessAreRemoved(t *testing.T) {
	dir := t.TempDir()
	first, err := registry.New(registry.Config{Dir: dir, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(first)
	abandoned := built{Registry: first, host: strings.TrimPrefix(server.URL, "http://")}
	abandoned.startUpload(t, "echo")
	server.Close()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	uploads := filepath.Join(dir, "docker/registry/v2/repositories/echo/_uploads")
	if entries, err := os.ReadDir(uploads); err != nil || len(entries) != 1 {
		t.Fatalf("before the restart there are %d uploads, %v, want 1", len(entries), err)
	}
	backdate(t, uploads)
	start(t, dir)
	eventually(t, "the upload is removed", func() bool {
		entries, err := os.ReadDir(uploads)
		return err == nil && len(entries) == 0
	})
}

func TestUploadsGoOnInTheNextProcess(t *testing.T) {
	dir := t.TempDir()
	serve := func(secret string) built {
		r, err := registry.New(registry.Config{Dir: dir, UploadSecret: secret, Log: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(r)
		t.Cleanup(func() {
			server.Close()
			r.Close()
		})
		return built{Registry: r, host: strings.TrimPrefix(server.URL, "http://")}
	}
	first := serve("")
	location := first.startUpload(t, "echo")
	backdate(t, filepath.Join(dir, "docker/registry/v2/repositories/echo/_uploads"))
	content := []byte("a layer")
	query := location.Query()
	query.Set("digest", fmt.Sprintf("sha256:%x", sha256.Sum256(content)))
	next := serve(first.UploadSecret())
	if status := next.send(t, "PUT", location.Path+"?"+query.Encode(), "application/octet-stream", content); status != http.StatusCreated {
		t.Errorf("the upload ended with status %d", status)
	}
}

// backdate makes uploads look older than this second.
func backdate(t *testing.T, uploads string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(uploads, "*", "startedat"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no uploads in %s: %v", uploads, err)
	}
	for _, file := range files {
		if err := os.WriteFile(file, []byte(time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFolderThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := registry.New(registry.Config{Dir: filepath.Join(file, "registry"), Log: testLog(t)})
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want an error that names %s", err, file)
	}
}

func TestNothingOnTheTerminalAndQuietAboutClients(t *testing.T) {
	var logged lockedBuffer
	r, err := registry.New(registry.Config{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, path := range []string{"/v2/", "/v2/none/manifests/latest", "/v2/none/tags/list", "/v2/_catalog"} {
		r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	if got := logged.String(); got != "" {
		t.Errorf("requests that are no fault of the registry logged %s", got)
	}
}

// The library's event broadcaster has no end: it is one idle goroutine for
// each registry, and the only one allowed to stay.
func TestCloseEndsEveryGoroutine(t *testing.T) {
	before := goroutines()
	for range 5 {
		r, err := registry.New(registry.Config{Dir: t.TempDir(), Log: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the goroutines end", func() bool { return goroutines() <= before })
}

func goroutines() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return bytes.Count(stacks, []byte("\n\n")) - bytes.Count(stacks, []byte("created by github.com/docker/go-events.NewBroadcaster"))
}

func BenchmarkNew(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		r, err := registry.New(registry.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}

// upload sends content as a blob with the digest, and returns the status of
// the last request.
func (b built) upload(t *testing.T, repository string, content []byte, digest string) int {
	t.Helper()
	location := b.startUpload(t, repository)
	query := location.Query()
	query.Set("digest", digest)
	location.RawQuery = query.Encode()
	return b.send(t, http.MethodPut, location.RequestURI(), "application/octet-stream", content)
}

func (b built) startUpload(t *testing.T, repository string) *url.URL {
	t.Helper()
	response, err := http.Post("http://"+b.host+"/v2/"+repository+"/blobs/uploads/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	location, err := response.Location()
	if err != nil || response.StatusCode != http.StatusAccepted {
		t.Fatalf("starting an upload: status %d, %v", response.StatusCode, err)
	}
	return location
}

func (b built) send(t *testing.T, method, path, contentType string, body []byte) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+b.host+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
