package registry

import (
	"bytes"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ServeHTTP serves the paths under /v2/, also while Collect runs.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch {
	case req.Method == http.MethodPut && kindOf(req) == "manifests":
		r.putManifest(w, req)
		return
	case req.Method != http.MethodDelete:
		r.use(r.digestOf(req))
	}
	r.app.ServeHTTP(w, req)
}

// uses is how Collect and the requests keep out of each other's way. What a
// client has seen here it relies on: a pushed layer that it was told is there
// it does not send. So each request first makes what it names young, which
// Collect leaves alone, and Collect gives up what it meant to remove once it
// might be wanted.
//
// The age of a blob, which a manifest is too, is that of its folder: the disk
// remembers it across restarts, and backups do not take it for a changed file.
type uses struct {
	// RWMutex is held for reading by requests while they make something
	// wanted, and for writing while something is removed.
	sync.RWMutex
	// revived counts what may have become wanted since Collect looked:
	// manifests put, and old blobs used.
	revived atomic.Int64
}

// maxManifest is how large a manifest the library accepts, in bytes.
const maxManifest = 4 << 20

// putManifest lets nothing be removed from when the library checks that the
// manifest's blobs are there until it has written the manifest. The body is
// read before, lest a slow client hold up all others; if that fails, it fails
// for the library in the same way, which answers.
func (r *Registry) putManifest(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(req.Body, maxManifest+1))
	read := *req
	read.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), req.Body))
	r.uses.RLock()
	defer r.uses.RUnlock()
	r.uses.revived.Add(1)
	r.app.ServeHTTP(w, &read)
	// The library does not write again what is there already, and is old.
	r.touch(w.Header().Get("Docker-Content-Digest"))
}

// use makes a blob young, if there is one with the digest.
func (r *Registry) use(digest string) {
	r.uses.RLock()
	defer r.uses.RUnlock()
	r.touch(digest)
}

func (r *Registry) touch(digest string) {
	if !digestPattern.MatchString(digest) {
		return
	}
	folder := r.layout.blob(digest)
	info, err := os.Stat(folder)
	if err != nil {
		return
	}
	now := time.Now()
	if now.Sub(info.ModTime()) > collectAge {
		r.uses.revived.Add(1)
	}
	if err := os.Chtimes(folder, now, now); err != nil {
		r.log.Warn("registry: a use was not noted, what was used may be removed as old", "digest", digest, "error", err)
	}
}

// digestOf is the digest of the blob or manifest that a request names, or "".
func (r *Registry) digestOf(req *http.Request) string {
	last := path.Base(req.URL.Path)
	switch kindOf(req) {
	case "blobs":
		return last
	case "uploads":
		query := req.URL.Query()
		return query.Get("digest") + query.Get("mount")
	case "manifests":
		if digestPattern.MatchString(last) {
			return last
		}
		repository := strings.TrimPrefix(path.Dir(path.Dir(req.URL.Path)), "/v2/")
		if !fs.ValidPath(repository) {
			return ""
		}
		// Without a digest it is the library that says what is wrong.
		digest, _ := readLink(filepath.Join(r.layout.repository(repository), tagsName, last, currentName))
		return digest
	}
	return ""
}

// kindOf is the element of a request's path that says what the last one names:
// the layouts are /v2/NAME/manifests/REFERENCE, /v2/NAME/blobs/DIGEST and
// /v2/NAME/blobs/uploads/[ID].
func kindOf(req *http.Request) string {
	dir, _ := path.Split(req.URL.Path)
	return path.Base(dir)
}
