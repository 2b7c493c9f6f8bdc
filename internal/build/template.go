package build

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lofn"
	"lofn/templates"
)

// templateFolder is where pulled templates are, in the working folder.
const templateFolder = "template"

// Template is what functions of one language are made and built from.
type Template struct {
	Name    string
	Aliases []string
	// Language, Process and WelcomeMessage are as template.yml has them.
	Language       string
	Process        string
	WelcomeMessage string
	// HandlerFolder is where in the build folder the handler goes, and where
	// in the template the starter files are.
	HandlerFolder string
	Options       []BuildOption
	// BuiltIn says that the template came with lofn, and not from ./template.
	BuiltIn bool
	// Dockerfile says that there is no recipe for lofn, so that a container
	// builder has to build.
	Dockerfile bool
	// Notice is something that the person who builds should know about the
	// choice of this template; it may be empty.
	Notice string

	files fs.FS
	// recipe is empty, but not nil, with Dockerfile.
	recipe *recipe
	// mountSSH is as template.yml has it.
	mountSSH bool
	// bare says that the handler folder is all there is.
	bare bool
	// official is the template that this one stands in for, where processes are
	// built; it may be nil.
	official *Template
}

// dockerfile is the lang of functions that bring their own Dockerfile.
const dockerfile = "dockerfile"

// FindTemplate returns the template for a lang value: by name, then by alias,
// the ones in dir/template before the built-in ones. An "@ref" at the end
// picks the version that was pulled under it.
func FindTemplate(dir, lang string) (*Template, error) {
	name, ref, _ := strings.Cut(lang, "@")
	switch {
	case strings.EqualFold(name, dockerfile):
		t, err := builtIn(dockerfile)
		if err == nil {
			t.bare, t.recipe = true, &recipe{HandlerFile: "Dockerfile"}
		}
		return t, err
	case name == "" || !filepath.IsLocal(name) || strings.ContainsAny(lang, `/\`):
		return nil, lofn.Errorf(lofn.Invalid, "lang: %q is not the name of a template", lang)
	}
	for _, folder := range slices.Compact([]string{lang, name}) {
		t, err := pulledTemplate(dir, folder)
		if err != nil || t != nil {
			return t, err
		}
	}
	all, err := ListTemplates(dir)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Name == name || slices.Contains(all[i].Aliases, name) {
			if ref != "" && all[i].BuiltIn {
				all[i].Notice = "version " + ref + " of " + name + " was not pulled into ./template: using the built-in " + all[i].Name
			}
			return &all[i], nil
		}
	}
	return nil, lofn.Errorf(lofn.NotFound, "template %q is not known: use one of: %s; or fetch it with: lofn template pull URL", lang, strings.Join(names(all), ", "))
}

// ListTemplates returns the templates of dir/template, and the built-in ones
// that those do not hide, by name.
func ListTemplates(dir string) ([]Template, error) {
	all, err := pulledTemplates(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range builtInNames() {
		if slices.Contains(names(all), name) {
			continue
		}
		t, err := builtIn(name)
		if err != nil {
			return nil, err
		}
		all = append(all, *t)
	}
	slices.SortStableFunc(all, func(a, b Template) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func pulledTemplates(dir string) ([]Template, error) {
	entries, err := os.ReadDir(filepath.Join(dir, templateFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, lofn.Errorf(lofn.Invalid, "templates: %w", err)
	}
	var all []Template
	for _, e := range entries {
		t, err := pulledTemplate(dir, e.Name())
		if err != nil {
			return nil, err
		}
		if t != nil {
			all = append(all, *t)
		}
	}
	return all, nil
}

// pulledTemplate returns nil if dir/template has no such template.
func pulledTemplate(dir, name string) (*Template, error) {
	folder := filepath.Join(dir, templateFolder, name)
	files := os.DirFS(folder)
	t, err := readTemplate(name, files)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "template %s: %w", folder, err)
	}
	if !t.Dockerfile {
		return t, nil
	}
	if own := standIn(name); own != nil && isOfficial(files) {
		own.Notice = folder + " has only a Dockerfile: using the built-in " + own.Name + ", which takes the same handlers"
		own.Name, own.official = name, t
		return own, nil
	}
	return t, nil
}

// standIn returns the built-in template of that name or alias, or nil.
func standIn(name string) *Template {
	name, _, _ = strings.Cut(name, "@")
	for _, candidate := range builtInNames() {
		t, err := builtIn(candidate)
		if err == nil && !t.Dockerfile && (t.Name == name || slices.Contains(t.Aliases, name)) {
			return t
		}
	}
	return nil
}

// isOfficial reports whether a template was pulled from OpenFaaS' own
// repositories, whose handlers the built-in ones of the same names take.
// Somebody else's template of that name may be anything.
func isOfficial(files fs.FS) bool {
	data, err := fs.ReadFile(files, metaFile)
	var m meta
	if err != nil || json.Unmarshal(data, &m) != nil {
		return false
	}
	return strings.HasPrefix(m.Repository, "https://github.com/openfaas/")
}

func builtInNames() []string {
	entries, err := fs.ReadDir(templates.Files(), ".")
	if err != nil {
		return nil
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func builtIn(name string) (*Template, error) {
	files, err := fs.Sub(templates.Files(), name)
	if err != nil {
		return nil, err
	}
	t, err := readTemplate(name, files)
	if err != nil {
		return nil, lofn.Errorf(lofn.Internal, "built-in template %s: %w", name, err)
	}
	t.BuiltIn = true
	return t, nil
}

func readTemplate(name string, files fs.FS) (*Template, error) {
	m, err := readManifest(files)
	if err != nil {
		return nil, err
	}
	r, err := readRecipe(files)
	if err != nil {
		return nil, err
	}
	t := &Template{
		Name: name, Language: m.Language, Process: m.Process, WelcomeMessage: m.WelcomeMessage,
		HandlerFolder: m.HandlerFolder, Options: m.BuildOptions, Dockerfile: r == nil, files: files, recipe: r, mountSSH: m.MountSSH,
	}
	if r == nil {
		t.recipe = &recipe{}
	}
	t.Aliases = t.recipe.Aliases
	return t, nil
}

// notForProcesses explains what to do about a template without a recipe.
func (t *Template) notForProcesses() error {
	advice := "leave --runtime out, add a lofn.yml to it (see docs/guides/templates.md), or use one of: " + strings.Join(builtInNames(), ", ")
	if own := standIn(t.Name); own != nil {
		advice = t.replaceAdvice(own.Name) + ", or add a lofn.yml to it (see docs/guides/templates.md)"
	}
	return lofn.Errorf(lofn.Unimplemented, "template %s has only a Dockerfile, which makes images for containers and not for processes: %s", t.Name, advice)
}

// replaceAdvice says how to get the built-in template own instead of t.
func (t *Template) replaceAdvice(own string) string {
	advice := "to use the built-in " + own + ", delete ./" + templateFolder + "/" + t.Name
	if strings.Contains(t.Name, "@") {
		return advice
	}
	return advice + " or run: lofn template pull"
}

// packages returns the operating system packages that build options stand for.
func (t *Template) packages(options []string) ([]string, error) {
	var all []string
	for _, name := range options {
		i := slices.IndexFunc(t.Options, func(o BuildOption) bool { return o.Name == name })
		if i < 0 {
			return nil, lofn.Errorf(lofn.Invalid, "build option %q is not known to template %s%s", name, t.Name, t.knownOptions())
		}
		all = append(all, t.Options[i].Packages...)
	}
	return all, nil
}

func (t *Template) knownOptions() string {
	if len(t.Options) == 0 {
		return ", which has no build options"
	}
	known := make([]string, len(t.Options))
	for i, o := range t.Options {
		known[i] = o.Name
	}
	return ": it knows " + strings.Join(known, ", ")
}

func names(all []Template) []string {
	list := make([]string, len(all))
	for i, t := range all {
		list[i] = t.Name
	}
	return list
}
