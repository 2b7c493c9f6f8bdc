package watchdog

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"lofn"
)

// static serves the files under StaticPath. The folder is held open, and no
// link leads out of it: the program that serves it may be allowed to read much
// more than the function is.
func (w *Watchdog) static() (http.Handler, error) {
	path := w.config.StaticPath
	if !filepath.IsAbs(path) {
		path = filepath.Join("/", w.options.Dir, path)
	}
	base, err := os.OpenRoot(w.options.Root)
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "static_path: %s cannot be opened: %w", path, err)
	}
	defer base.Close()
	folder, err := base.OpenRoot("." + filepath.Clean(path))
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "static_path: %s cannot be opened: %w", path, err)
	}
	w.release = folder.Close
	files := http.FileServerFS(plainFS{folder.FS()})
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rec := rw.(*recorder)
		rec.Header().Set(lofn.HeaderDurationSeconds, rec.duration())
		files.ServeHTTP(rec, r)
	}), nil
}

// plainFS has files and folders only: opening a named pipe or a device could
// block, or do things.
type plainFS struct{ fs.FS }

func (p plainFS) Open(name string) (fs.File, error) {
	info, err := fs.Stat(p.FS, name)
	if err != nil {
		// What may not be followed is not there, as far as clients go.
		if strings.Contains(err.Error(), "escapes") {
			err = fs.ErrNotExist
		}
		return nil, err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return p.FS.Open(name)
}
