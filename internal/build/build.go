// Package build turns a function's handler and a template into an OCI image,
// with the machine's own tools and without a container builder, and keeps and
// pushes such images. The same input gives the same image, bit for bit.
package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"lofn"
)

// Request describes one build. Name, Lang, Handler and Images are required.
type Request struct {
	// Name is the function's name.
	Name string
	// Lang is the template's name or alias, perhaps with "@ref" at its end.
	Lang string
	// Handler is the folder with the function's own files.
	Handler string
	// Image is the full name, with its tag, under which the image is stored;
	// see Tag. The default is Name with the tag latest.
	Image string
	// Dir is the working folder: it may hold template/ and gets build/, and
	// relative paths start there. The default is the current folder.
	Dir string
	// Copy lists files and folders inside Dir that are copied into the handler
	// folder of the build.
	Copy []string
	// Args reach the template's steps as environment variables.
	Args map[string]string
	// Options are names of build options that the template knows.
	Options []string
	// Labels are put on the image.
	Labels map[string]string
	// Platform is what the image is for, such as "linux/arm64"; the default is
	// linux on this machine's processor.
	Platform string
	// NoCache runs every step and installs every dependency anew.
	NoCache bool
	// Shrinkwrap stops when the build folder is assembled.
	Shrinkwrap bool
	// Images is where the image is put; it may be nil with Shrinkwrap.
	Images *Images
	// Log, if not nil, gets a line for every step as it begins and the lines
	// that the tools write, each in one call of Write. A build calls it from
	// one goroutine at a time; builds that share it must lock it.
	Log io.Writer
}

// Result describes a finished build.
type Result struct {
	Image string
	// Digest is the image's, "sha256:…"; empty with Shrinkwrap.
	Digest string
	// Folder is the build folder.
	Folder string
	// Size is that of the image's layers as stored, in bytes.
	Size int64
	// Process is the template's command line, as template.yml has it.
	Process string
	// Cached says that nothing had changed since an earlier build.
	Cached  bool
	Elapsed time.Duration
}

// Build makes the image of a function and puts it into req.Images. Builds of
// different functions may run at the same time, in one process or several;
// those of one function wait for each other. When ctx ends, so do the tools.
func Build(ctx context.Context, req Request) (Result, error) {
	begun := time.Now()
	if err := req.complete(ctx); err != nil {
		return Result{}, err
	}
	t, err := FindTemplate(req.Dir, req.Lang)
	if err != nil {
		return Result{}, lofn.Errorf(lofn.CodeOf(err), "function %q: %w", req.Name, err)
	}
	if !t.Buildable {
		return Result{}, lofn.Errorf(lofn.Unimplemented, "function %q: %w", req.Name, t.notBuildable())
	}
	result, err := req.build(ctx, t)
	result.Image, result.Process, result.Elapsed = req.Image, t.Process, time.Since(begun)
	return result, err
}

// complete fills in what was left out and checks the rest.
func (req *Request) complete(ctx context.Context) error {
	if err := (lofn.Ref{Namespace: lofn.DefaultNamespace, Name: req.Name}).Validate(); err != nil {
		return err
	}
	var err error
	if req.Dir, err = filepath.Abs(req.Dir); err != nil {
		return lofn.Errorf(lofn.Invalid, "working folder: %w", err)
	}
	switch {
	case req.Lang == "":
		return lofn.Errorf(lofn.Invalid, "function %q: lang: is required: name a template, such as python3-http", req.Name)
	case req.Handler == "":
		return lofn.Errorf(lofn.Invalid, "function %q: handler: is required: name the folder with its code, such as ./%s", req.Name, req.Name)
	case req.Images == nil && !req.Shrinkwrap:
		return lofn.Errorf(lofn.Internal, "function %q: no image store to build into", req.Name)
	}
	if req.Platform == "" {
		req.Platform = "linux/" + runtime.GOARCH
	}
	if goos, arch, _ := strings.Cut(req.Platform, "/"); goos != "linux" || arch == "" || strings.Contains(arch, "/") {
		return lofn.Errorf(lofn.Invalid, "function %q: platform: %q is not supported: use linux/amd64 or linux/arm64", req.Name, req.Platform)
	}
	if req.Image == "" {
		req.Image, err = Tag(ctx, "", req.Name, req.Dir, req.Handler)
	}
	return err
}

// path returns a path that may be relative to the working folder.
func (req *Request) path(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(req.Dir, p)
}

func (req *Request) build(ctx context.Context, t *Template) (Result, error) {
	log := &logger{to: req.Log}
	if t.Notice != "" {
		log.line(t.Notice)
	}
	packages, err := t.packages(req.Options)
	if err != nil {
		return Result{}, lofn.Errorf(lofn.Invalid, "function %q: %w", req.Name, err)
	}
	if len(packages) > 0 {
		log.line("the machines that run this function need the packages " + strings.Join(packages, ", "))
	}
	all, err := req.collect(t)
	if err != nil {
		return Result{}, err
	}
	result := Result{Folder: req.path(filepath.Join(buildFolder, req.Name))}
	env := req.environment(t, packages)
	inputs, err := req.inputs(t, all, env)
	if err != nil {
		return Result{}, err
	}
	if !req.NoCache && !req.Shrinkwrap {
		if stored, ok := req.Images.reuse(req.Image, inputs); ok {
			result.Digest, result.Size, result.Cached = stored.Digest, stored.Size, true
			return result, nil
		}
	}
	run := &runner{function: req.Name, template: t, folder: result.Folder, env: env, log: log}
	stored, err := req.make(ctx, run, all, inputs)
	result.Digest, result.Size = stored.Digest, stored.Size
	return result, err
}

// inputs digests everything that the image depends on, as far as it is on this
// machine: what an unpinned requirement means today is not.
func (req *Request) inputs(t *Template, all sources, env map[string]string) (string, error) {
	files, err := all.digest(nil)
	if err != nil {
		return "", lofn.Errorf(lofn.CodeOf(err), "function %q: %w", req.Name, err)
	}
	at, err := sourceTime()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	// The number grows when this package packs the same input differently.
	fmt.Fprintf(h, "1 %s %d\n%q\n%q\n", files, at.Unix(), env, req.Labels)
	for _, name := range []string{"template.yml", recipeFile} {
		text, err := fs.ReadFile(t.files, name)
		if err != nil {
			return "", lofn.Errorf(lofn.Invalid, "template %s: %w", t.Name, err)
		}
		fmt.Fprintf(h, "%q\n", text)
	}
	for _, tool := range t.recipe.Toolchain {
		fmt.Fprintln(h, toolIdentity(tool.Program))
	}
	fmt.Fprintf(h, "%q\n", toolVariables())
	return hex.EncodeToString(h.Sum(nil)), nil
}

// make assembles the build folder, runs the steps in it and packs the image.
func (req *Request) make(ctx context.Context, run *runner, all sources, inputs string) (StoredImage, error) {
	f, err := req.openFolder()
	if err != nil {
		return StoredImage{}, err
	}
	defer f.release()
	kept, err := req.kept(f, run, all)
	if err != nil {
		return StoredImage{}, err
	}
	maps.DeleteFunc(f.memo.Steps, func(step, _ string) bool { return !kept.done[step] })
	if err := f.assemble(all, kept.outputs); err != nil {
		return StoredImage{}, err
	}
	if req.Shrinkwrap {
		return StoredImage{}, nil
	}
	if err := f.checkTools(ctx, run); err != nil {
		return StoredImage{}, err
	}
	err = f.runSteps(ctx, run, kept)
	// Written down even if a step failed, so that a slip in the handler does
	// not cost the installed dependencies.
	if memoErr := f.writeMemo(); err == nil {
		err = memoErr
	}
	if err != nil {
		return StoredImage{}, err
	}
	layers, err := req.pack(f, run.template, kept)
	if err != nil {
		return StoredImage{}, lofn.Errorf(lofn.CodeOf(err), "function %q: image: %w", req.Name, err)
	}
	image, err := req.image(run.template, layers)
	if err != nil {
		return StoredImage{}, err
	}
	stored := StoredImage{Name: req.Image}
	for _, l := range layers {
		stored.Size += l.Size
	}
	stored.Digest, err = req.Images.put(req.Image, image, inputs)
	return stored, err
}
