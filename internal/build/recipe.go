package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"lofn"
)

// recipeFile is the file of a template that says how lofn builds it;
// docs/guides/templates.md describes its keys one by one.
const recipeFile = "lofn.yml"

// recipe is the content of recipeFile. Paths are relative to the build folder.
type recipe struct {
	Version int      `yaml:"version"`
	Aliases []string `yaml:"aliases"`
	// HandlerFile is the one file that a handler folder must have.
	HandlerFile string `yaml:"handler_file"`
	// Ignore are patterns of names in the handler folder that are not copied.
	Ignore    []string `yaml:"ignore"`
	Toolchain []tool   `yaml:"toolchain"`
	// Place moves files of the template, from → to, after the handler is there.
	Place map[string]string `yaml:"place"`
	// Env is the steps' environment; build arguments win over it.
	Env   map[string]string `yaml:"env"`
	Steps []step            `yaml:"steps"`
	Hints []hint            `yaml:"hints"`
	Image imageRecipe       `yaml:"image"`
}

// tool is a program that has to be on this machine.
type tool struct {
	Program string `yaml:"program"`
	// Version is the lowest that will do, empty for any.
	Version string `yaml:"version"`
	// Probe are arguments that print the version; "--version" by default.
	Probe []string `yaml:"probe"`
	// Install is what to type, or do, to get it.
	Install string `yaml:"install"`
	// ABI is set for an interpreter that comes from the base image of
	// containers.
	ABI *abi `yaml:"abi"`
}

// step is one command of a build.
type step struct {
	Name string            `yaml:"name"`
	Run  []string          `yaml:"run"`
	Dir  string            `yaml:"dir"`
	Env  map[string]string `yaml:"env"`
	When condition         `yaml:"when"`
	// Needs are tools beyond the toolchain, looked for when the step runs.
	Needs []tool `yaml:"needs"`
	// Slow is why the step may take long; it is said when it does.
	Slow string `yaml:"slow"`
	// Keep lets the step's outputs stay for the next build if its inputs are
	// the same by then.
	Keep *keep `yaml:"keep"`
}

// keep has patterns of the paths that a step reads, and paths that it writes.
type keep struct {
	Inputs  []string `yaml:"inputs"`
	Outputs []string `yaml:"outputs"`
}

// condition says when a step runs: if all that is given holds.
type condition struct {
	// Missing is a path that must not exist.
	Missing string `yaml:"missing"`
	// Lists is a file that must have a line besides comments and blank ones.
	Lists string `yaml:"lists"`
	// Finds is a pattern of names that some file below a folder must match.
	Finds *finds `yaml:"finds"`
	// JSON is a file in which all the keys must hold something, Without one in
	// which at least one must not.
	JSON    *jsonKeys `yaml:"json"`
	Without *jsonKeys `yaml:"without"`
	// Args are variables that must not be empty, Unless are NAME=value pairs
	// that must not be so.
	Args   []string `yaml:"args"`
	Unless []string `yaml:"unless"`
}

type finds struct {
	In   string `yaml:"in"`
	Name string `yaml:"name"`
}

type jsonKeys struct {
	File string   `yaml:"file"`
	Keys []string `yaml:"keys"`
}

// hint adds advice to the error of a step whose output has a certain text.
type hint struct {
	Match string `yaml:"match"`
	Say   string `yaml:"say"`
}

type imageRecipe struct {
	// Base is what an image for containers stands on, as in Request.Base; ${…}
	// stands for variables of the build and those of abi.
	Base       string            `yaml:"base"`
	WorkingDir string            `yaml:"working_dir"`
	Env        map[string]string `yaml:"env"`
	// Layers are from the lowest up: first what changes least.
	Layers []layerRecipe `yaml:"layers"`
}

// layerRecipe maps paths of the build folder to paths under lofn.AppDir.
type layerRecipe struct {
	Paths map[string]string `yaml:"paths"`
	// Optional says that paths may be missing.
	Optional bool `yaml:"optional"`
}

// manifest is template.yml, in OpenFaaS' format.
type manifest struct {
	Language       string        `yaml:"language"`
	Process        string        `yaml:"fprocess"`
	BuildOptions   []BuildOption `yaml:"build_options"`
	WelcomeMessage string        `yaml:"welcome_message"`
	HandlerFolder  string        `yaml:"handler_folder"`
	// MountSSH lends the Dockerfile's steps the user's SSH agent.
	MountSSH bool `yaml:"mount_ssh"`
}

// BuildOption is a named list of operating system packages that a template
// knows.
type BuildOption struct {
	Name     string   `yaml:"name"`
	Packages []string `yaml:"packages"`
}

// readRecipe returns nil if the template has none.
func readRecipe(files fs.FS) (*recipe, error) {
	data, err := fs.ReadFile(files, recipeFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r recipe
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&r); err != nil && !errors.Is(err, io.EOF) {
		return nil, lofn.Errorf(lofn.Invalid, "%s: %s", recipeFile, plainYAML(err))
	}
	if err := r.validate(); err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "%s: %w", recipeFile, err)
	}
	return &r, nil
}

var unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)

// plainYAML puts a YAML error in words that do not speak of Go types.
func plainYAML(err error) string {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "yaml: "), "unmarshal errors:\n  ")
	text = unknownField.ReplaceAllString(text, `unknown key "$1"`)
	return strings.ReplaceAll(text, "\n  ", "; ")
}

func (r *recipe) validate() error {
	if r.Version != 1 {
		return fmt.Errorf("version: must be 1, not %d", r.Version)
	}
	if len(r.Image.Layers) == 0 {
		return errors.New("image.layers: must name the paths that go into the image")
	}
	for i, t := range r.Toolchain {
		if t.ABI != nil && (t.ABI.Variable == "" || t.ABI.Numbers < 1) {
			return fmt.Errorf("toolchain[%d]: abi: needs a variable, and how many numbers of the version count", i)
		}
	}
	for i, s := range r.Steps {
		if len(s.Run) == 0 {
			return fmt.Errorf("steps[%d]: run: is required", i)
		}
	}
	for _, p := range r.paths() {
		if !filepath.IsLocal(p) {
			return fmt.Errorf("%q must be a relative path that stays in its folder", p)
		}
	}
	for _, pattern := range r.patterns() {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("%q is not a pattern", pattern)
		}
	}
	return nil
}

// paths returns every path that the recipe may write to or pack.
func (r *recipe) paths() []string {
	var all []string
	for from, to := range r.Place {
		all = append(all, from, to)
	}
	for _, s := range r.Steps {
		if s.Dir != "" {
			all = append(all, s.Dir)
		}
		if s.Keep != nil {
			all = append(all, s.Keep.Outputs...)
		}
		if s.When.Finds != nil {
			all = append(all, s.When.Finds.In)
		}
	}
	for _, l := range r.Image.Layers {
		for from, to := range l.Paths {
			all = append(all, from, to)
		}
	}
	if r.HandlerFile != "" {
		all = append(all, r.HandlerFile)
	}
	return all
}

func (r *recipe) patterns() []string {
	all := append([]string{}, r.Ignore...)
	for _, s := range r.Steps {
		if s.When.Finds != nil {
			all = append(all, s.When.Finds.Name)
		}
		if s.Keep != nil {
			all = append(all, s.Keep.Inputs...)
		}
	}
	return all
}

func readManifest(files fs.FS) (manifest, error) {
	var m manifest
	data, err := fs.ReadFile(files, "template.yml")
	if err != nil {
		return m, err
	}
	if err := yaml.Unmarshal(data, &m); err != nil {
		return m, lofn.Errorf(lofn.Invalid, "template.yml: %s", plainYAML(err))
	}
	if m.HandlerFolder == "" {
		m.HandlerFolder = "function"
	}
	if !filepath.IsLocal(m.HandlerFolder) {
		return m, lofn.Errorf(lofn.Invalid, "template.yml: handler_folder: %q must be a relative path that stays in its folder", m.HandlerFolder)
	}
	return m, nil
}
