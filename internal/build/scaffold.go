package build

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lofn"
)

// ScaffoldRequest describes a new function.
type ScaffoldRequest struct {
	// Name is the function's name, Lang its template.
	Name, Lang string
	// Handler is the folder to make, relative to Dir; the default is Name.
	Handler string
	// Dir is the working folder; the default is the current folder.
	Dir string
}

// Scaffold says what NewFunction made.
type Scaffold struct {
	// Lang is the template's own name, and not an alias, so that other tools
	// know it too.
	Lang string
	// Handler is the folder, as it is to be written in a stack file.
	Handler string
	// Files are the starter files, relative to the folder.
	Files          []string
	WelcomeMessage string
}

// NewFunction makes a handler folder with the template's starter files, and
// adds to Dir/.gitignore what builds leave behind. A folder that is there and
// not empty is an Exists error, and stays as it is.
func NewFunction(req ScaffoldRequest) (Scaffold, error) {
	if err := (lofn.Ref{Namespace: lofn.DefaultNamespace, Name: req.Name}).Validate(); err != nil {
		return Scaffold{}, err
	}
	t, err := FindTemplate(req.Dir, req.Lang)
	if err != nil {
		return Scaffold{}, err
	}
	handler := req.Handler
	if handler == "" {
		handler = req.Name
	}
	folder := filepath.Join(req.Dir, handler)
	if filepath.IsAbs(handler) {
		folder = handler
	}
	files, err := t.starters()
	if err != nil {
		return Scaffold{}, err
	}
	if err := writeStarters(folder, files); err != nil {
		return Scaffold{}, err
	}
	if err := ignoreInGit(req.Dir); err != nil {
		return Scaffold{}, lofn.Errorf(lofn.Invalid, ".gitignore: %w", err)
	}
	made := Scaffold{Lang: t.Name, Handler: stackPath(handler), WelcomeMessage: t.WelcomeMessage}
	if strings.Contains(req.Lang, "@") {
		made.Lang = req.Lang
	}
	for _, f := range files {
		made.Files = append(made.Files, f.name)
	}
	return made, nil
}

// stackPath writes a path as stack files do.
func stackPath(p string) string {
	p = filepath.ToSlash(filepath.Clean(p))
	if filepath.IsLocal(p) {
		return "./" + p
	}
	return p
}

type starter struct {
	name string
	data []byte
}

func (t *Template) starters() ([]starter, error) {
	var all []starter
	inner, err := fs.Sub(t.files, filepath.ToSlash(t.HandlerFolder))
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "template %s: %w", t.Name, err)
	}
	err = fs.WalkDir(inner, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(inner, name)
		all = append(all, starter{name, data})
		return err
	})
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "template %s has no starter files: %w", t.Name, err)
	}
	return all, nil
}

// writeStarters makes the folder in one step. Into an empty folder that is
// there, which may be a link or the working folder, the files move one by one.
func writeStarters(folder string, files []starter) error {
	entries, err := os.ReadDir(folder)
	if len(entries) > 0 {
		return lofn.Errorf(lofn.Exists, "folder %s is there already and not empty: choose another name or --handler", folder)
	}
	isThere := err == nil
	if !isThere && !errors.Is(err, fs.ErrNotExist) {
		return lofn.Errorf(lofn.Exists, "%s is there already: choose another name or --handler", folder)
	}
	// A rename must not cross file systems, as one to behind a link might.
	parent := filepath.Dir(folder)
	if isThere {
		parent = folder
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return lofn.Errorf(lofn.Invalid, "handler folder: %w", err)
	}
	fresh, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return lofn.Errorf(lofn.Invalid, "handler folder: %w", err)
	}
	defer os.RemoveAll(fresh)
	err = os.Chmod(fresh, 0o755)
	for _, f := range files {
		err = errors.Join(err, f.write(fresh))
	}
	switch {
	case err != nil:
	case isThere:
		err = moveInto(fresh, folder)
	default:
		err = os.Rename(fresh, folder)
	}
	if err != nil {
		return lofn.Errorf(lofn.Invalid, "handler folder: %w", err)
	}
	return nil
}

func moveInto(from, folder string) error {
	entries, err := os.ReadDir(from)
	for _, e := range entries {
		err = errors.Join(err, os.Rename(filepath.Join(from, e.Name()), filepath.Join(folder, e.Name())))
	}
	return err
}

func (s starter) write(folder string) error {
	file := filepath.Join(folder, filepath.FromSlash(s.name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if bytes.HasPrefix(s.data, []byte("#!")) {
		mode = 0o755
	}
	return os.WriteFile(file, s.data, mode)
}

// ignoreInGit adds the lines that are not there yet.
func ignoreInGit(dir string) error {
	file := filepath.Join(dir, ".gitignore")
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var present []string
	for line := range strings.Lines(string(data)) {
		present = append(present, strings.Trim(strings.TrimSpace(line), "/"))
	}
	text := string(data)
	for _, name := range []string{templateFolder, buildFolder, ".secrets"} {
		if slices.Contains(present, name) {
			continue
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		text += name + "\n"
	}
	if text == string(data) {
		return nil
	}
	return os.WriteFile(file, []byte(text), 0o644)
}
