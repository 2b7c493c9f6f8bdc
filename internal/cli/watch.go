package cli

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"lofn/internal/stack"
)

// A batch of changes ends when nothing changed for settle, or at the latest
// after longestBatch: editors and git write many files in one go.
const settle, longestBatch = 30 * time.Millisecond, 300 * time.Millisecond

// watch tells which functions the files that changed belong to.
type watch struct {
	notify *fsnotify.Watcher
	roots  []root
}

// root is a file or folder that is watched.
type root struct {
	path string
	// functions are the names of those it belongs to, none for the stack file.
	functions []string
	// rebuild is set if it is part of the image, not only of the deployment.
	rebuild bool
	stack   bool
}

// change is what a batch of changes means.
type change struct {
	// files are the paths that changed, relative to the current folder, by the
	// functions they belong to.
	files map[string][]string
	// rebuild has the functions whose image changes.
	rebuild map[string]bool
	// stack is set if the stack file changed.
	stack bool
	// since is when the first file changed.
	since time.Time
}

func newChange() change { return change{files: map[string][]string{}, rebuild: map[string]bool{}} }

// add records that a file of a function changed; an empty one has no name.
func (c *change) add(function, file string, rebuild bool) {
	c.rebuild[function] = c.rebuild[function] || rebuild
	files := c.files[function]
	if file != "" && !slices.Contains(files, file) {
		files = append(files, file)
	}
	c.files[function] = files
}

// newWatch watches everything that the functions of the stack are made of.
func newWatch(s *stack.Stack) (*watch, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	w := &watch{notify: notify}
	if err := w.follow(s); err != nil {
		_ = notify.Close()
		return nil, err
	}
	return w, nil
}

func (w *watch) close() { _ = w.notify.Close() }

// follow changes what is watched to what the stack names now.
func (w *watch) follow(s *stack.Stack) error {
	w.roots = nil
	w.add(root{path: s.File, stack: true})
	for _, f := range s.Functions {
		name := []string{f.Name}
		if f.Handler != "" && !f.SkipBuild {
			w.add(root{path: f.Handler, functions: name, rebuild: true})
			if f.Lang != "" {
				w.add(root{path: filepath.Join("template", f.Lang), functions: name, rebuild: true})
			}
			for _, extra := range s.Configuration.Copy {
				w.add(root{path: extra, functions: name, rebuild: true})
			}
		}
		for _, file := range f.EnvironmentFiles {
			w.add(root{path: file, functions: name})
		}
	}
	return w.sync()
}

func (w *watch) add(r root) {
	if strings.Contains(r.path, "://") {
		return
	}
	if path, err := filepath.Abs(r.path); err == nil {
		r.path = path
		w.roots = append(w.roots, r)
	}
}

// sync watches the folders that are there now: all below a root that is a
// folder, and the one above each root, in which an editor puts a new file in
// the place of the old and git a folder.
func (w *watch) sync() error {
	watched := map[string]bool{}
	for _, path := range w.notify.WatchList() {
		watched[path] = true
	}
	add := func(folder string) error {
		if watched[folder] {
			return nil
		}
		watched[folder] = true
		return w.notify.Add(folder)
	}
	for _, r := range w.roots {
		if err := add(filepath.Dir(r.path)); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("watch %s: %w", filepath.Dir(r.path), err)
		}
		err := filepath.WalkDir(r.path, func(path string, d fs.DirEntry, err error) error {
			switch {
			case os.IsNotExist(err):
				return nil
			case err != nil:
				return err
			case !d.IsDir():
				return nil
			case path != r.path && isPassedOver(d.Name()):
				return filepath.SkipDir
			}
			return add(path)
		})
		if err != nil {
			return fmt.Errorf("watch %s: %w", r.path, err)
		}
	}
	return nil
}

// next waits for changes. It returns ctx's error when that ends.
func (w *watch) next(ctx context.Context) (change, error) {
	c := newChange()
	var quiet <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return c, ctx.Err()
		case err := <-w.notify.Errors:
			return c, fmt.Errorf("watch files: %w", err)
		case <-quiet:
			return c, w.sync()
		case event := <-w.notify.Events:
			if !w.note(&c, event) {
				continue
			}
			if c.since.IsZero() {
				c.since = time.Now()
			}
			quiet = time.After(min(settle, max(0, longestBatch-time.Since(c.since))))
		}
	}
}

// note records an event and reports whether it means anything.
func (w *watch) note(c *change, event fsnotify.Event) bool {
	if event.Op == fsnotify.Chmod {
		return false
	}
	means := false
	for _, r := range w.roots {
		inside, ok := strings.CutPrefix(event.Name, r.path)
		if !ok || inside != "" && inside[0] != filepath.Separator || passesOver(inside) {
			continue
		}
		means = true
		c.stack = c.stack || r.stack
		for _, function := range r.functions {
			c.add(function, relative(event.Name), r.rebuild)
		}
	}
	return means
}

func relative(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if short, err := filepath.Rel(here, path); err == nil {
		return short
	}
	return path
}

func passesOver(path string) bool {
	return slices.ContainsFunc(strings.Split(path, string(filepath.Separator)), isPassedOver)
}

// isPassedOver reports whether a file or folder of that name is no part of a
// function: what tools keep, and what editors write for a moment.
func isPassedOver(name string) bool {
	switch name {
	case "build", "template", ".git", ".hg", ".svn", "node_modules", "__pycache__", ".idea", ".vscode", ".DS_Store", "4913":
		return true
	}
	if strings.HasPrefix(name, ".#") || strings.HasPrefix(name, "#") || strings.HasPrefix(name, ".goutputstream-") {
		return true
	}
	for _, ending := range []string{"~", ".swp", ".swo", ".swx", ".tmp", ".pyc"} {
		if strings.HasSuffix(name, ending) {
			return true
		}
	}
	return false
}

// named are the files of a function that changed, for a person: without those
// that an editor or git made for a moment, and without end.
func (c change) named(function string) string {
	files := slices.Clone(c.files[function])
	if there := slices.DeleteFunc(files, isGone); len(there) > 0 {
		files = there
	} else {
		files = c.files[function]
	}
	const most = 5
	if len(files) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(files[:most], ", "), len(files)-most)
	}
	return strings.Join(files, ", ")
}

func isGone(file string) bool {
	_, err := os.Lstat(file)
	return err != nil
}

// functions are the names of those that changed, in order.
func (c change) functions() []string { return slices.Sorted(maps.Keys(c.files)) }
