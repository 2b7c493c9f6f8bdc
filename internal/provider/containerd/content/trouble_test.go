package content_test

import (
	"crypto/rand"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"lofn"
	"lofn/internal/provider/containerd/containerdtest"
)

// broken refuses everything.
func broken(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }

// noise cannot be compressed.
func noise(size int) string {
	b := make([]byte, size)
	_, _ = rand.Read(b)
	return string(b)
}

func TestRegistriesInTrouble(t *testing.T) {
	for what, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		code   lofn.Code
		says   string
	}{
		"hangs":              {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, lofn.Unavailable, "sent nothing for " + patience.String()},
		"refuses":            {broken, lofn.Invalid, "refuses access"},
		"asks for a pause":   {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "900"); w.WriteHeader(429) }, lofn.Unavailable, "come back in 15m0s"},
		"sends other things": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("other things")) }, lofn.Unavailable, "something else than the digest says"},
	} {
		t.Run(what, func(t *testing.T) {
			w := start(t, nil)
			name, digest := w.hub.push("echo:1", sample(t, "one"))
			for _, part := range []string{"/manifests/", "/blobs/"} {
				w.hub.serve(func(rw http.ResponseWriter, r *http.Request) {
					if strings.Contains(r.URL.Path, part) {
						c.answer(rw, r)
						return
					}
					w.hub.real.ServeHTTP(rw, r)
				})
				w.refused(c.code, name, digest, c.says, w.hub.host)
			}
			w.hub.serve(nil)
			if got := w.readFile(w.ensure(name, digest), "file"); got != "one" {
				t.Errorf("when it was well again the file had %q", got)
			}
		})
	}
}

// Layers that were whole when the registry failed are not read again.
func TestWholeLayersOutliveTheRegistrysTrouble(t *testing.T) {
	w := start(t, nil)
	image := sample(t, "one")
	name, digest := w.hub.push("echo:1", image)
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, l := range layers {
		id, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id.String())
	}
	w.hub.serve(func(rw http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, ids[1]) {
			w.hub.real.ServeHTTP(rw, r)
			return
		}
		eventually(t, "the first layer is there", func() bool {
			_, err := w.client.ContentStore().Info(t.Context(), digestFrom(ids[0]))
			return err == nil
		})
		rw.Header().Set("Retry-After", "900")
		rw.WriteHeader(http.StatusTooManyRequests)
	})
	w.refused(lofn.Unavailable, name, digest)
	w.hub.serve(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ids[0]) {
			t.Error("a layer that was there was asked for")
		}
		w.hub.real.ServeHTTP(rw, r)
	})
	w.ensure(name, digest)
	for _, thing := range w.left() {
		if strings.HasPrefix(thing, "lease") {
			t.Errorf("a %s was left", thing)
		}
	}
}

func TestFullDisk(t *testing.T) {
	containerdtest.Require(t)
	dir, err := os.MkdirTemp("", "full")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	w := over(t, containerdtest.StartIn(t, dir), nil)
	for what, size := range map[string]int{
		"while it is downloaded": 32 << 20,
		"while it is unpacked":   16 << 20,
	} {
		t.Run(what, func(t *testing.T) {
			w.t = t
			name, digest := w.hub.push("big:1", withLayer(t, sample(t, "one"), types.OCIUncompressedLayer, tarOf(t, "big", noise(size))))
			w.refused(lofn.Full, name, digest, filepath.Join(dir, "root"), "no space left")
			w.nothingLeft()
			name, digest = w.hub.push("small:1", sample(t, "small"))
			if got := w.readFile(w.ensure(name, digest), "file"); got != "small" {
				t.Errorf("the file of what fits has %q", got)
			}
			w.clear()
		})
	}
}

func TestContainerdIsKilledDuringAPull(t *testing.T) {
	w := start(t, nil)
	name, digest := w.hub.push("echo:1", withLayer(t, sample(t, "one"), types.OCIUncompressedLayer, tarOf(t, "big", noise(3<<20))))
	never := make(chan struct{})
	w.hub.serve(w.hub.slowly(1<<20, never))
	failed := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		_, err := w.Ensure(t.Context(), name, digest, lofn.PullMissing, nil, func(line string) {
			if strings.Contains(line, " of ") {
				select {
				case <-begun:
				default:
					close(begun)
				}
			}
		})
		failed <- err
	}()
	<-begun
	w.daemon.Kill()
	close(never)
	check(t, <-failed, lofn.Unavailable, "containerd", name)
	_, err := w.Resolve(t.Context(), name, lofn.PullMissing, nil)
	check(t, err, lofn.Unavailable, "containerd does not answer")
	w.hub.serve(nil)
	w.daemon.Start()
	eventually(t, "containerd is back", func() bool {
		_, err := w.Resolve(t.Context(), name, lofn.PullMissing, nil)
		return err == nil
	})
	if got := w.readFile(w.ensure(name, digest), "file"); got != "one" {
		t.Errorf("the file has %q", got)
	}
}
