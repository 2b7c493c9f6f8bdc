package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"lofn"
	"lofn/internal/build/fwatchdog"
)

// variant is the image of a function for one platform, on its way.
type variant struct {
	*Request
	template *Template
	platform v1.Platform
	// env is what the template's steps see besides this process's own.
	env map[string]string
	// folder is the build folder.
	folder  string
	sources sources
	log     *logger
	// labels are those of the image that are known before it is made.
	labels map[string]string

	// base is nil for an image that is run as processes, and where a Dockerfile
	// says what there is; so is the watchdog.
	base     *base
	watchdog fwatchdog.Binary
}

// variants prepares the images of all platforms. Of what could be wrong with a
// build, it finds whatever needs no step to be run.
func (req *Request) variants(ctx context.Context, t *Template, all sources, packages []string, log *logger) ([]*variant, error) {
	labels := map[string]string{}
	if req.Runtime == lofn.RuntimeContainer {
		labels = req.provenance(ctx)
	}
	maps.Copy(labels, req.Labels)
	var variants []*variant
	for _, platform := range req.Platforms {
		v := &variant{Request: req, template: t, platform: platformOf(platform), sources: all, log: log, labels: labels}
		v.env = req.environment(t, platform, packages)
		v.folder = req.path(filepath.Join(buildFolder, v.folderName()))
		if req.Runtime == lofn.RuntimeContainer && !t.Dockerfile && !req.Shrinkwrap {
			if err := v.stand(ctx); err != nil {
				return nil, lofn.Errorf(lofn.CodeOf(err), "function %q: %w", req.Name, err)
			}
		}
		variants = append(variants, v)
	}
	return variants, nil
}

// folderName keeps what steps leave for another build of the same platform. A
// function's name has no @ in it.
func (v *variant) folderName() string {
	if v.platform.Architecture == runtime.GOARCH {
		return v.Name
	}
	return v.Name + "@" + v.platform.Architecture
}

// stand finds what an image for containers has besides the function's layers.
func (v *variant) stand(ctx context.Context) (err error) {
	if v.watchdog, err = v.findWatchdog(); err != nil {
		return err
	}
	name, err := v.baseName(ctx)
	if err != nil {
		return err
	}
	if program := v.template.recipe.Image.program(); name == scratch && program != "" && !strings.Contains(program, "/") {
		return lofn.Errorf(lofn.Invalid, "base image scratch has no %s, which runs functions of template %s: take another with --base", program, v.template.Name)
	}
	v.base, err = v.openBase(ctx, name, v.platform, v.log)
	return err
}

func (v *variant) findWatchdog() (fwatchdog.Binary, error) {
	var folders []string
	if v.Watchdogs != "" {
		folders = append(folders, v.Watchdogs)
	}
	return fwatchdog.Find(v.platform.Architecture, folders...)
}

// makeAll makes the images one after the other, for they may share tools that
// are best left alone, and returns the image or the index of all of them. With
// Shrinkwrap it is nil.
func makeAll(ctx context.Context, variants []*variant) (artifact, error) {
	var index v1.ImageIndex = empty.Index
	for _, v := range variants {
		image, err := v.make(ctx)
		switch {
		case err != nil:
			return nil, err
		case v.Shrinkwrap:
		case len(variants) == 1:
			return image, nil
		default:
			index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v.platform}})
		}
	}
	return index, nil
}

// inputsOf digests all that the images depend on; "" if that cannot be known.
func inputsOf(variants []*variant) (string, error) {
	h := sha256.New()
	for _, v := range variants {
		inputs, err := v.inputs()
		if err != nil || inputs == "" {
			return "", err
		}
		fmt.Fprintln(h, inputs)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// inputs digests everything that the image depends on, as far as it is on this
// machine: what an unpinned requirement means today is not. What a Dockerfile
// depends on its builder knows.
func (v *variant) inputs() (string, error) {
	if v.template.Dockerfile {
		return "", nil
	}
	files, err := v.sources.digest(nil)
	if err != nil {
		return "", lofn.Errorf(lofn.CodeOf(err), "function %q: %w", v.Name, err)
	}
	at, err := sourceTime()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	// The number grows when this package packs the same input differently.
	fmt.Fprintf(h, "2 %s %d\n%q\n%q\n%s\n", files, at.Unix(), v.env, v.labels, v.Runtime)
	if v.base != nil {
		digest, err := v.base.digest()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %s %s\n", v.base.reference, digest, v.watchdog.Digest)
	}
	for _, name := range []string{"template.yml", recipeFile} {
		text, err := fs.ReadFile(v.template.files, name)
		if err != nil {
			return "", lofn.Errorf(lofn.Invalid, "template %s: %w", v.template.Name, err)
		}
		fmt.Fprintf(h, "%q\n", text)
	}
	for _, tool := range v.template.recipe.Toolchain {
		fmt.Fprintln(h, toolIdentity(tool.Program))
	}
	fmt.Fprintf(h, "%q\n", toolVariables())
	return hex.EncodeToString(h.Sum(nil)), nil
}

// make assembles the build folder, has the image built from it and returns it.
func (v *variant) make(ctx context.Context) (v1.Image, error) {
	f, err := v.openFolder()
	if err != nil {
		return nil, err
	}
	defer f.release()
	if v.template.Dockerfile {
		return v.makeByBuilder(ctx, f)
	}
	run := &runner{function: v.Name, template: v.template, folder: v.folder, env: v.env, log: v.log}
	kept, err := v.kept(f, run)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(f.memo.Steps, func(step, _ string) bool { return !kept.done[step] })
	if err := f.assemble(v.sources, kept.outputs); err != nil || v.Shrinkwrap {
		return nil, err
	}
	if err := f.work(ctx, run, kept); err != nil {
		return nil, err
	}
	image, err := v.packed(ctx, f, run, kept)
	if err != nil {
		return nil, lofn.Errorf(lofn.CodeOf(err), "function %q: image: %w", v.Name, err)
	}
	return image, nil
}

// work runs the recipe's steps.
func (f *folder) work(ctx context.Context, run *runner, kept keptSteps) error {
	if err := f.checkTools(ctx, run); err != nil {
		return err
	}
	err := f.runSteps(ctx, run, kept)
	// Written down even if a step failed, so that a slip in the handler does
	// not cost the installed dependencies.
	if memoErr := f.writeMemo(); err == nil {
		err = memoErr
	}
	return err
}

// packed makes the image of what the steps have made.
func (v *variant) packed(ctx context.Context, f *folder, run *runner, kept keptSteps) (v1.Image, error) {
	layers, err := v.pack(f, kept)
	if err != nil {
		return nil, err
	}
	if err := v.fits(ctx, run, layers); err != nil {
		return nil, err
	}
	return v.image(f, layers)
}

// fits looks at the machine code in a function's layers: files for other
// processors only are a mistake, such as packages that this machine installed
// for itself.
func (v *variant) fits(ctx context.Context, run *runner, layers []layer) error {
	machines := machines(layers)
	if _, fits := machines[v.platform.Architecture]; len(machines) > 0 && !fits {
		others := slices.Sorted(maps.Keys(machines))
		return lofn.Errorf(lofn.Invalid, "its files have machine code for %s (%s), and the image is for %s: build it on a machine of that kind",
			strings.Join(others, ", "), machines[others[0]], v.platform)
	}
	switch {
	case v.base == nil:
		return nil
	case v.base.image == nil:
		return v.fitsScratch(layers)
	}
	return v.fitsBase(ctx, run, machines[v.platform.Architecture])
}

// fitsScratch refuses what would not start, with a message that speaks of
// something else: that the program, which is there, does not exist.
func (v *variant) fitsScratch(layers []layer) error {
	for _, l := range layers {
		if l.Dynamic != "" {
			return lofn.Errorf(lofn.Invalid, "%s is linked dynamically, and base image scratch has no libraries: link it statically (in Go with CGO_ENABLED=0), or take another base with --base, such as debian:stable-slim", l.Dynamic)
		}
	}
	return nil
}

// program is what the function's command line begins with; "" if there is none.
func (r imageRecipe) program() string {
	program, _, _ := strings.Cut(r.Env["fprocess"], " ")
	return program
}
