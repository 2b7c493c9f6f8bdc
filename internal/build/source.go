package build

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"lofn"
)

// source is a file, folder or link on its way into the build folder.
type source struct {
	// mode is its type, and for files whether it is executable.
	mode fs.FileMode
	// link is where a symbolic link points.
	link string
	open func() (io.ReadCloser, error)
}

// sources maps slash-separated paths in the build folder to what goes there.
// Later additions replace earlier ones.
type sources map[string]source

func (s sources) sorted() []string {
	paths := make([]string, 0, len(s))
	for p := range s {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

// collect returns all that goes into the build folder of req.
func (req *Request) collect(t *Template) (sources, error) {
	all := sources{}
	if !t.bare {
		if err := all.addTemplate(t); err != nil {
			return nil, lofn.Errorf(lofn.Invalid, "template %s: %w", t.Name, err)
		}
	}
	if err := req.addHandler(all, t); err != nil {
		return nil, err
	}
	for _, extra := range req.Copy {
		if err := req.addExtra(all, t, extra); err != nil {
			return nil, err
		}
	}
	for _, from := range slices.Sorted(maps.Keys(t.recipe.Place)) {
		moved, ok := all[from]
		if !ok {
			return nil, lofn.Errorf(lofn.Invalid, "template %s: %s: place: %s is not there", t.Name, recipeFile, from)
		}
		delete(all, from)
		all[t.recipe.Place[from]] = moved
	}
	return all, nil
}

// addTemplate adds the entry point files: all but the starter files and those
// that describe the template.
func (s sources) addTemplate(t *Template) error {
	return fs.WalkDir(t.files, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name == t.HandlerFolder:
			return fs.SkipDir
		case name == "template.yml" || name == recipeFile || name == metaFile || d.IsDir():
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is neither a file nor a folder", name)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		s[name] = source{mode: info.Mode() & 0o111, open: func() (io.ReadCloser, error) { return t.files.Open(name) }}
		return nil
	})
}

// handlerPath is where in the build folder the handler goes.
func (t *Template) handlerPath() string {
	if t.bare {
		return "."
	}
	return t.HandlerFolder
}

func (req *Request) addHandler(all sources, t *Template) error {
	folder := req.path(req.Handler)
	info, err := os.Stat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return lofn.Errorf(lofn.NotFound, "function %q: handler folder %s does not exist: make it with: lofn new %s --lang %s", req.Name, req.Handler, req.Name, req.Lang)
	case err != nil:
		return lofn.Errorf(lofn.Invalid, "function %q: handler: %w", req.Name, err)
	case !info.IsDir():
		return lofn.Errorf(lofn.Invalid, "function %q: handler: %s is a file: name the folder that it is in", req.Name, req.Handler)
	}
	file := t.recipe.HandlerFile
	if _, err := os.Stat(filepath.Join(folder, file)); err != nil {
		return lofn.Errorf(lofn.NotFound, "function %q: %s is not in the handler folder %s, and template %s needs it: lofn new %s --lang %s makes one to start from",
			req.Name, file, req.Handler, t.Name, req.Name, req.Lang)
	}
	w := walker{all: all, ignore: append([]string{".git"}, t.recipe.Ignore...)}
	// The handler folder may be the working folder itself.
	w.skip = []string{req.path(buildFolder), req.path(templateFolder)}
	if err := w.add(folder, t.handlerPath(), nil); err != nil {
		return lofn.Errorf(lofn.Invalid, "function %q: handler: %w", req.Name, err)
	}
	return nil
}

func (req *Request) addExtra(all sources, t *Template, extra string) error {
	inside, err := req.inside(extra)
	if err != nil {
		return err
	}
	w := walker{all: all, ignore: append([]string{".git"}, t.recipe.Ignore...), skip: []string{req.path(buildFolder)}}
	if err := w.add(req.path(extra), path.Join(t.handlerPath(), filepath.ToSlash(inside)), nil); err != nil {
		return lofn.Errorf(lofn.Invalid, "function %q: copy: %w", req.Name, err)
	}
	return nil
}

// inside returns extra relative to the working folder, which must hold it,
// symbolic links followed.
func (req *Request) inside(extra string) (string, error) {
	root, err := filepath.EvalSymlinks(req.path("."))
	if err != nil {
		return "", lofn.Errorf(lofn.Invalid, "working folder: %w", err)
	}
	real, err := filepath.EvalSymlinks(req.path(extra))
	if errors.Is(err, fs.ErrNotExist) {
		return "", lofn.Errorf(lofn.NotFound, "function %q: copy: %s does not exist", req.Name, extra)
	}
	if err != nil {
		return "", lofn.Errorf(lofn.Invalid, "function %q: copy: %w", req.Name, err)
	}
	relative, err := filepath.Rel(root, real)
	if err != nil || relative == "." || !filepath.IsLocal(relative) {
		return "", lofn.Errorf(lofn.Invalid, "function %q: copy: %s must be a folder or file inside the working folder, and not that folder itself", req.Name, extra)
	}
	return relative, nil
}

// walker adds a folder's content to sources.
type walker struct {
	all sources
	// ignore are patterns of names, skip are absolute paths.
	ignore, skip []string
}

// add puts the file or folder at from under the name to. parents are the real
// paths of the folders that it is in, to notice a link that leads back.
func (w walker) add(from, to string, parents []string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0 && len(parents) > 0:
		return w.addLink(from, to, parents)
	case info.Mode()&fs.ModeSymlink != 0:
		if from, err = filepath.EvalSymlinks(from); err != nil {
			return err
		}
		return w.add(from, to, nil)
	case info.IsDir():
		return w.addFolder(from, to, parents)
	case info.Mode().IsRegular():
		w.all[to] = source{mode: info.Mode() & 0o111, open: func() (io.ReadCloser, error) { return os.Open(from) }}
		return nil
	}
	return fmt.Errorf("%s is neither a file nor a folder: move it elsewhere", from)
}

func (w walker) addFolder(from, to string, parents []string) error {
	real, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	if slices.Contains(parents, real) {
		return fmt.Errorf("%s leads back to a folder that it is in", from)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	w.all[to] = source{mode: fs.ModeDir}
	for _, e := range entries {
		inner := filepath.Join(from, e.Name())
		if w.passesOver(inner, e.Name()) {
			continue
		}
		if err := w.add(inner, path.Join(to, e.Name()), append(slices.Clip(parents), real)); err != nil {
			return err
		}
	}
	return nil
}

// addLink keeps a link that stays in the folder and copies what any other one
// points to, since that would not be there where the function runs.
func (w walker) addLink(from, to string, parents []string) error {
	target, err := os.Readlink(from)
	if err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(from)
	if err != nil {
		return fmt.Errorf("%s is a link to nothing: %s", from, target)
	}
	inside, err := filepath.Rel(parents[0], real)
	if err == nil && filepath.IsLocal(inside) && !filepath.IsAbs(target) {
		w.all[to] = source{mode: fs.ModeSymlink, link: target}
		return nil
	}
	return w.add(real, to, parents)
}

func (w walker) passesOver(file, name string) bool {
	if slices.Contains(w.skip, file) {
		return true
	}
	return slices.ContainsFunc(w.ignore, func(pattern string) bool {
		matched, _ := path.Match(pattern, name)
		return matched
	})
}

// digest hashes the paths, modes and contents of the sources for which want
// is true, or of all if it is nil.
func (s sources) digest(want func(path string) bool) (string, error) {
	h := sha256.New()
	for _, p := range s.sorted() {
		if want != nil && !want(p) {
			continue
		}
		if err := s[p].hash(h, p); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (s source) hash(h hash.Hash, path string) error {
	fmt.Fprintf(h, "%q %v %q\n", path, s.mode.Type()|executable(s.mode), s.link)
	if s.open == nil {
		return nil
	}
	file, err := s.open()
	if err != nil {
		return lofn.Errorf(lofn.Invalid, "%w", err)
	}
	defer file.Close()
	content := sha256.New()
	if _, err := io.Copy(content, file); err != nil {
		return lofn.Errorf(lofn.Invalid, "%s: %w", path, err)
	}
	h.Write(content.Sum(nil))
	return nil
}

// executable reduces a mode to 0o755 or 0o644: the rest differs from one
// machine to the next.
func executable(mode fs.FileMode) fs.FileMode {
	if mode&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

// within reports whether a slash-separated path is folder or below it.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}
