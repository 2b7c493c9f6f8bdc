// Package build turns a function's handler and a template into an OCI image
// and keeps and pushes such images. An image is for running as processes of a
// machine that has the interpreter, or for containers: then it stands on a base
// image and has the watchdog in it. The machine's own tools build it, and the
// same input gives the same image, bit for bit. Templates that have a Dockerfile
// instead of a recipe are left to a container builder.
package build

import (
	"context"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

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
	// Runtime is lofn.RuntimeProcess or lofn.RuntimeContainer, what the image is
	// to be run as. The default is what the template makes: containers if it has
	// only a Dockerfile, and processes otherwise.
	Runtime string
	// Base is what an image for containers stands on, over the build argument
	// BASE_IMAGE and the template: "scratch", an image in a registry,
	// "oci:FOLDER[:name]" or "tar:FILE[:name]".
	Base string
	// Pull asks the registry what the base image's name means now, even if it
	// is known here.
	Pull bool
	// Builder names the container builder for a Dockerfile; see Builders. The
	// default is the first that works here.
	Builder string
	// Secrets maps the ids of secrets that a Dockerfile mounts to the paths of
	// their files.
	Secrets map[string]string
	// Platforms are what the image is for, such as "linux/arm64"; with more
	// than one, the result is an index of an image for each. The default is
	// linux on this machine's processor.
	Platforms []string
	// NoCache runs every step and installs every dependency anew.
	NoCache bool
	// Shrinkwrap stops when the build folder is assembled.
	Shrinkwrap bool
	// Images is where the image is put; it may be nil with Shrinkwrap.
	Images *Images
	// Patience is how long a registry may be silent before the build gives up;
	// 0 means a minute.
	Patience time.Duration
	// Watchdogs, if not empty, is a folder whose fwatchdog-linux-ARCH goes into
	// images for containers instead of the one inside this program.
	Watchdogs string
	// Log, if not nil, gets a line for every step as it begins and the lines
	// that the tools write, each in one call of Write. One that ends in "\r" says
	// how far something has come, and is out of date with the next. A build
	// calls it from one goroutine at a time; builds that share it must lock it.
	Log io.Writer
}

// Result describes a finished build.
type Result struct {
	Image string
	// Digest is the image's or the index's, "sha256:…"; empty with Shrinkwrap.
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
	t, err := req.template()
	if err != nil {
		return Result{}, err
	}
	result, err := req.build(ctx, t)
	result.Image, result.Process, result.Elapsed = req.Image, t.Process, time.Since(begun)
	return result, err
}

// template finds the template, and settles what the image is to be run as.
func (req *Request) template() (*Template, error) {
	t, err := FindTemplate(req.Dir, req.Lang)
	if err != nil {
		return nil, lofn.Errorf(lofn.CodeOf(err), "function %q: %w", req.Name, err)
	}
	// Its own Dockerfile is how an official template makes containers.
	if req.Runtime == lofn.RuntimeContainer && t.official != nil {
		t = t.official
	}
	switch {
	case t.Dockerfile && req.Runtime == lofn.RuntimeProcess:
		return nil, lofn.Errorf(lofn.Unimplemented, "function %q: %w", req.Name, t.notForProcesses())
	case t.Dockerfile:
		req.Runtime = lofn.RuntimeContainer
	case req.Runtime == "":
		req.Runtime = lofn.RuntimeProcess
	}
	if req.Base != "" && (t.Dockerfile || req.Runtime != lofn.RuntimeContainer) {
		return nil, lofn.Errorf(lofn.Invalid, "function %q: base: only images for containers that a lofn.yml describes stand on a base image: add --runtime %s, or leave --base out", req.Name, lofn.RuntimeContainer)
	}
	return t, nil
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
	switch req.Runtime {
	case "", lofn.RuntimeProcess, lofn.RuntimeContainer:
	default:
		return lofn.Errorf(lofn.Invalid, "function %q: runtime: %q is not known: use %s or %s", req.Name, req.Runtime, lofn.RuntimeProcess, lofn.RuntimeContainer)
	}
	if req.Platforms, err = platforms(req.Platforms); err != nil {
		return lofn.Errorf(lofn.Invalid, "function %q: %w", req.Name, err)
	}
	if req.Image == "" {
		req.Image, err = Tag(ctx, "", req.Name, req.Dir, req.Handler)
	}
	return err
}

// platforms are the wanted ones, each once, or this machine's if none is.
func platforms(wanted []string) ([]string, error) {
	var all []string
	for _, p := range wanted {
		p = strings.TrimSpace(p)
		if goos, arch, _ := strings.Cut(p, "/"); goos != "linux" || arch == "" || strings.Contains(arch, "/") {
			return nil, lofn.Errorf(lofn.Invalid, "platform: %q is not supported: use linux/amd64 or linux/arm64", p)
		}
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	if all == nil {
		all = []string{"linux/" + runtime.GOARCH}
	}
	return all, nil
}

func platformOf(text string) v1.Platform {
	goos, arch, _ := strings.Cut(text, "/")
	return v1.Platform{OS: goos, Architecture: arch}
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
	packages, err := req.packages(t, log)
	if err != nil {
		return Result{}, err
	}
	all, err := req.collect(t)
	if err != nil {
		return Result{}, err
	}
	variants, err := req.variants(ctx, t, all, packages, log)
	if err != nil {
		return Result{}, err
	}
	result := Result{Folder: variants[0].folder}
	inputs, err := inputsOf(variants)
	if err != nil {
		return Result{}, err
	}
	if inputs != "" && !req.NoCache && !req.Shrinkwrap {
		if stored, ok := req.Images.reuse(req.Image, inputs); ok {
			result.Digest, result.Size, result.Cached = stored.Digest, stored.Size, true
			return result, nil
		}
	}
	made, err := makeAll(ctx, variants)
	if err != nil || req.Shrinkwrap {
		return result, err
	}
	stored, err := req.Images.put(req.Image, made, inputs)
	result.Digest, result.Size = stored.Digest, stored.Size
	return result, err
}

// packages returns the operating system's packages that the function's build
// options stand for, and says who has to have them, if it is not the builder.
func (req *Request) packages(t *Template, log *logger) ([]string, error) {
	packages, err := t.packages(req.Options)
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "function %q: %w", req.Name, err)
	}
	if len(packages) > 0 && !t.Dockerfile {
		who := "the machines that run this function need"
		if req.Runtime == lofn.RuntimeContainer {
			who = "the base image must have"
		}
		log.line(who + " the packages " + strings.Join(packages, ", "))
	}
	return packages, nil
}
