package content_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"lofn"
)

func (w *world) resolve(name string, policy lofn.Pull) string {
	w.t.Helper()
	image, err := w.Resolve(w.t.Context(), name, policy, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return image.Digest
}

func (w *world) unresolved(name string, policy lofn.Pull, parts ...string) {
	w.t.Helper()
	_, err := w.Resolve(w.t.Context(), name, policy, nil)
	check(w.t, err, lofn.Invalid, append(parts, name)...)
}

// load imports an image by hand, as `ctr images import` of a docker save does.
func (w *world) load(tag string, image v1.Image) {
	w.t.Helper()
	ref, err := name.NewTag(tag)
	if err != nil {
		w.t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := tarball.Write(ref, image, &archive); err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.t.TempDir(), "image.tar")
	if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
		w.t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	if _, err := w.client.Import(w.t.Context(), f, client.WithAllPlatforms(true)); err != nil {
		w.t.Fatal(err)
	}
}

func TestPolicies(t *testing.T) {
	w := start(t, nil)
	first, second := sample(t, "first"), sample(t, "second")
	name, digest := w.hub.push("echo:1", first)
	w.unresolved(name, lofn.PullNever, "ctr -n "+namespace+" images import", `"never"`)
	for _, policy := range []lofn.Pull{lofn.PullMissing, lofn.PullAlways} {
		if got := w.resolve(name, policy); got != digest {
			t.Errorf("%s: got %s, want %s", policy, got, digest)
		}
	}
	w.ensure(name, digest)
	_, newer := w.hub.push("echo:1", second)
	for policy, want := range map[lofn.Pull]string{lofn.PullMissing: digest, lofn.PullNever: digest, lofn.PullAlways: newer} {
		if got := w.resolve(name, policy); got != want {
			t.Errorf("%s: got %s, want %s", policy, got, want)
		}
	}
	w.ensure(name, newer)
	w.hub.serve(broken)
	for _, policy := range []lofn.Pull{lofn.PullMissing, lofn.PullNever} {
		if got := w.resolve(name, policy); got != newer {
			t.Errorf("without the registry, %s: got %s, want the one pulled last, %s", policy, got, newer)
		}
	}
	if got := w.readFile(w.ensure(name, digest), "file"); got != "first" {
		t.Errorf("the older one has %q", got)
	}
	_, err := w.Resolve(t.Context(), name, lofn.PullAlways, nil)
	check(t, err, lofn.Invalid, "refuses access")
}

func TestImportedImages(t *testing.T) {
	w := start(t, nil)
	w.load("docker.io/library/byhand:1", sample(t, "by hand"))
	w.load("docker.io/team/byhand", sample(t, "by hand, too"))
	for name, content := range map[string]string{
		"byhand:1":                     "by hand",
		"docker.io/library/byhand:1":   "by hand",
		"docker.io/byhand:1":           "by hand",
		"team/byhand":                  "by hand, too",
		"docker.io/team/byhand:latest": "by hand, too",
	} {
		digest := w.resolve(name, lofn.PullNever)
		if got := w.readFile(w.ensure(name, digest), "file"); got != content {
			t.Errorf("%s has %q, want %q", name, got, content)
		}
		pinned := strings.Split(name, ":")[0] + "@" + digest
		if got := w.resolve(pinned, lofn.PullMissing); got != digest {
			t.Errorf("%s resolves to %s", pinned, got)
		}
	}
	w.unresolved("byhand:2", lofn.PullNever)
}

func TestImportedWithoutAllOfItIsToldSo(t *testing.T) {
	w := start(t, nil)
	w.load("byhand:1", sample(t, "by hand"))
	image := w.ensure("byhand:1", w.resolve("byhand:1", lofn.PullNever))
	layers, err := image.Record.RootFS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.client.ContentStore().Delete(t.Context(), layers[0]); err != nil {
		t.Fatal(err)
	}
	w.unresolved("byhand:1", lofn.PullNever, "not all of it")
}

func TestImagesOfOtherMachines(t *testing.T) {
	w := start(t, nil)
	here := runtime.GOOS + "/" + runtime.GOARCH
	foreign := configured(t, sample(t, "foreign"), func(c *v1.ConfigFile) { c.OS, c.Architecture = "plan9", "mips" })
	name, digest := w.hub.push("foreign:1", foreign)
	w.unresolved(name, lofn.PullMissing, "plan9/mips", here)
	w.refused(lofn.Invalid, name, digest, "plan9/mips", here)
	w.nothingLeft()
	w.load("foreign:2", foreign)
	w.unresolved("foreign:2", lofn.PullNever, "plan9/mips", here)

	mine := sample(t, "mine")
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: foreign, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "plan9", Architecture: "mips"}}},
		mutate.IndexAddendum{Add: mine, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}}})
	full := w.hub.host + "/both:1"
	if err := remote.WriteIndex(w.hub.parse(full), index); err != nil {
		t.Fatal(err)
	}
	if got := w.resolve(full, lofn.PullAlways); got != digestOf(t, mine) {
		t.Errorf("of an index it is %s, want %s", got, digestOf(t, mine))
	}
	whole, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	w.refused(lofn.Invalid, full, whole.String(), "index")
}

func TestImagesThatCannotRun(t *testing.T) {
	w := start(t, nil)
	idle := configured(t, sample(t, "idle"), func(c *v1.ConfigFile) { c.Config.Entrypoint, c.Config.Cmd = nil, nil })
	name, digest := w.hub.push("idle:1", idle)
	w.unresolved(name, lofn.PullMissing, "has no command", "ENTRYPOINT")
	w.refused(lofn.Invalid, name, digest, "has no command")

	chart := withLayer(t, sample(t, "chart"), types.MediaType("application/vnd.cncf.helm.chart.content.v1.tar+gzip"), []byte("chart"))
	name, digest = w.hub.push("chart:1", chart)
	w.refused(lofn.Invalid, name, digest, "helm.chart")

	damaged := configured(t, sample(t, "damaged"), func(c *v1.ConfigFile) { c.RootFS.DiffIDs[1] = c.RootFS.DiffIDs[0] })
	name, digest = w.hub.push("damaged:1", damaged)
	w.refused(lofn.Invalid, name, digest, "damaged")

	w.refused(lofn.Invalid, name, "sha256:12", "is not a digest")
	w.nothingLeft()
}

// A digest that is held with another function's image may be known by two names.
func TestTwoNamesOfOneImage(t *testing.T) {
	w := start(t, nil)
	image := sample(t, "one")
	one, digest := w.hub.push("one:1", image)
	two, _ := w.hub.push("two:1", image)
	w.ensure(one, digest)
	before := w.hub.requests.Load()
	w.ensure(two, digest)
	if asked := w.hub.requests.Load() - before; asked != 0 {
		t.Errorf("the registry was asked %d times for what is there", asked)
	}
	if got := w.resolve(two, lofn.PullNever); got != digest {
		t.Errorf("the second name resolves to %s", got)
	}
}

func TestContentOfAnotherNamespaceIsNotReadAgain(t *testing.T) {
	w := start(t, nil)
	name, digest := w.hub.push("one:1", sample(t, "one"))
	w.ensure(name, digest)
	w.connect("other", nil)
	w.hub.serve(func(rw http.ResponseWriter, r *http.Request) {
		if isBlob(r) {
			t.Errorf("%s was asked for", r.URL)
		}
		w.hub.real.ServeHTTP(rw, r)
	})
	if got := w.readFile(w.ensure(name, digest), "file"); got != "one" {
		t.Errorf("the file has %q", got)
	}
}

func TestNeverMeansNever(t *testing.T) {
	w := start(t, nil)
	name, digest := w.hub.push("one:1", sample(t, "one"))
	before := w.hub.requests.Load()
	_, err := w.Ensure(t.Context(), name, digest, lofn.PullNever, nil, nil)
	check(t, err, lofn.Invalid, name, digest, "ctr -n "+namespace)
	if asked := w.hub.requests.Load() - before; asked != 0 {
		t.Errorf("the registry was asked %d times", asked)
	}
	w.nothingLeft()
	w.ensure(name, digest)
	if _, err := w.Ensure(t.Context(), name, digest, lofn.PullNever, nil, nil); err != nil {
		t.Errorf("when it is here: %v", err)
	}
}
