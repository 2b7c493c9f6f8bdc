package content_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"lofn"
	"lofn/internal/provider/containerd/containerdtest"
	"lofn/internal/provider/containerd/content"
	"lofn/internal/registry"
)

func TestMain(m *testing.M) { os.Exit(containerdtest.Main(m)) }

const namespace = "lofn-test"

// world is a containerd, a registry and a store between them.
type world struct {
	*content.Store
	t      testing.TB
	daemon *containerdtest.Daemon
	client *client.Client
	hub    *hub
}

// start makes a world; configure may be nil.
func start(t testing.TB, configure func(*content.Config)) *world {
	t.Helper()
	return over(t, containerdtest.Start(t), configure)
}

func over(t testing.TB, daemon *containerdtest.Daemon, configure func(*content.Config)) *world {
	t.Helper()
	w := &world{t: t, daemon: daemon, hub: newHub(t)}
	w.connect(namespace, configure)
	return w
}

// connect gives the world a store in a namespace.
func (w *world) connect(namespace string, configure func(*content.Config)) {
	w.t.Helper()
	c, err := client.New(w.daemon.Socket, client.WithDefaultNamespace(namespace))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	w.client = c
	w.restart(configure)
}

// restart replaces the store, as a new process would.
func (w *world) restart(configure func(*content.Config)) {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(w.t.Output(), nil))
	images, err := registry.NewImages(registry.ImagesConfig{Registry: http.NotFoundHandler(), Dir: w.t.TempDir(), Patience: patience, Log: log})
	if err != nil {
		w.t.Fatal(err)
	}
	config := content.Config{Client: w.client, Source: images, Log: log}
	if configure != nil {
		configure(&config)
	}
	w.Store = content.New(config)
}

// patience is with a registry that says nothing.
const patience = 500 * time.Millisecond

func (w *world) ensure(name, digest string) content.Image {
	w.t.Helper()
	image, err := w.Ensure(w.t.Context(), name, digest, lofn.PullMissing, nil, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return image
}

// mayEnsure is ensure for other goroutines than the test's own.
func (w *world) mayEnsure(name, digest string) {
	if _, err := w.Ensure(w.t.Context(), name, digest, lofn.PullMissing, nil, nil); err != nil {
		w.t.Error(err)
	}
}

// refused is a failed Ensure whose error has these parts.
func (w *world) refused(code lofn.Code, name, digest string, parts ...string) {
	w.t.Helper()
	_, err := w.Ensure(w.t.Context(), name, digest, lofn.PullMissing, nil, nil)
	check(w.t, err, code, append(parts, name)...)
}

func check(t testing.TB, err error, code lofn.Code, parts ...string) {
	t.Helper()
	if err == nil || lofn.CodeOf(err) != code {
		t.Fatalf("the error is %v (code %d), want code %d", err, lofn.CodeOf(err), code)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in the error %q", part, err)
		}
	}
	if !strings.HasPrefix(err.Error(), "image: ") || strings.Count(err.Error(), "image: ") > 1 {
		t.Errorf("the error does not name its field once: %q", err)
	}
}

// left lists what containerd has.
func (w *world) left() (all []string) {
	w.t.Helper()
	ctx := context.WithoutCancel(w.t.Context())
	must := func(err error) {
		if err != nil {
			w.t.Helper()
			w.t.Fatal(err)
		}
	}
	records, err := w.client.ImageService().List(ctx)
	must(err)
	for _, r := range records {
		all = append(all, "image "+r.Name)
	}
	must(w.client.ContentStore().Walk(ctx, func(i blobInfo) error {
		all = append(all, "blob "+i.Digest.String())
		return nil
	}))
	downloads, err := w.client.ContentStore().ListStatuses(ctx)
	must(err)
	for _, d := range downloads {
		all = append(all, "download "+d.Ref)
	}
	must(w.client.SnapshotService("").Walk(ctx, func(_ context.Context, i snapshotInfo) error {
		all = append(all, "snapshot "+i.Name)
		return nil
	}))
	held, err := w.client.LeasesService().List(ctx)
	must(err)
	for _, l := range held {
		all = append(all, "lease "+l.ID)
	}
	return all
}

// nothingLeft fails the test if containerd has anything.
func (w *world) nothingLeft() {
	w.t.Helper()
	if left := w.left(); len(left) > 0 {
		w.t.Errorf("this was left:\n%s", strings.Join(left, "\n"))
	}
}

// hub is a registry that may misbehave.
type hub struct {
	t    testing.TB
	host string
	real http.Handler
	// handler is what serves, if set; requests counts what was asked.
	handler  atomic.Pointer[http.Handler]
	requests atomic.Int64
}

func newHub(t testing.TB) *hub {
	h := &hub{t: t, real: ggcr.New(ggcr.Logger(slog.NewLogLogger(slog.DiscardHandler, 0)))}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.requests.Add(1)
		if other := h.handler.Load(); other != nil {
			(*other).ServeHTTP(w, r)
			return
		}
		h.real.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	h.host = server.Listener.Addr().String()
	return h
}

// serve has requests answered by f, or as usual if it is nil.
func (h *hub) serve(f http.HandlerFunc) {
	if f == nil {
		h.handler.Store(nil)
		return
	}
	handler := http.Handler(f)
	h.handler.Store(&handler)
}

// push puts an image under a name, and returns the full name and its digest.
func (h *hub) push(name_ string, image v1.Image) (full, digest string) {
	h.t.Helper()
	full = h.host + "/" + name_
	if err := remote.Write(h.parse(full), image); err != nil {
		h.t.Fatal(err)
	}
	return full, digestOf(h.t, image)
}

func (h *hub) parse(full string) name.Reference {
	h.t.Helper()
	ref, err := name.ParseReference(full)
	if err != nil {
		h.t.Fatal(err)
	}
	return ref
}

func digestOf(t testing.TB, image v1.Image) string {
	t.Helper()
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func isBlob(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/") }
