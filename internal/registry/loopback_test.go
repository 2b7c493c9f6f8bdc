package registry_test

import (
	"net/http"
	"strings"
	"testing"

	"lofn"
)

// A registry that fails must not take the platform down, nor hang it.
func TestRegistryThatFails(t *testing.T) {
	b := start(t, t.TempDir())
	digest := b.push(t, "echo:1", buildImage(t, layer(file("a", strings.Repeat("a", 1<<20)))))
	for name, failing := range map[string]http.HandlerFunc{
		"panics":          func(http.ResponseWriter, *http.Request) { panic("broken") },
		"answers nothing": func(http.ResponseWriter, *http.Request) {},
		"answers 500":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"panics in the middle of a blob": func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.URL.Path, "/blobs/") {
				b.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Length", "1000")
			// The client may have left.
			_, _ = w.Write([]byte("{"))
			panic("broken")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			images := newImages(t, failing, dir)
			if _, err := images.Resolve(t.Context(), "echo:1"); lofn.CodeOf(err) != lofn.Internal || !strings.Contains(err.Error(), "echo:1") {
				t.Errorf("Resolve: %v, want code Internal and the image named", err)
			}
			if _, err := images.Unpack(t.Context(), "echo:1", digest); err == nil {
				t.Error("Unpack returned no error")
			}
			if got := list(t, dir); len(got) != 0 {
				t.Errorf("the failure left %q", got)
			}
		})
	}
}
