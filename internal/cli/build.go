package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/internal/build"
	"lofn/internal/stack"
)

// buildFlags are the flags of `build`, which `up` has too.
type buildFlags struct {
	p                                  *program
	parallel                           int
	noCache, shrinkwrap, quiet, noPull bool
	args, options, labels, copies      []string
	overwrite, pull                    bool
	runtime, base, builder             string
	platforms                          []string
}

func (p *program) buildCommand() *cobra.Command {
	b, source := buildFlags{p: p}, sourceFlags{p: p}
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build images of functions with this machine's own tools",
		Long: `Builds the images of functions, and keeps them on this machine for "lofn push".

What a function is built from is its template. Where that has a lofn.yml, this
machine's own compilers and package managers do the work, and no container tool
is needed. The image is for running as processes of a machine that has the same
interpreter; with --runtime container, or the annotation lofn.dev/runtime:
container in the stack file, it is one that runs anywhere: a base image, the
watchdog, and the function. The base image is the template's, unless --base or
the build argument BASE_IMAGE names another:

  scratch              nothing at all, for programs that are linked statically
  debian:stable-slim   an image in a registry; what docker login or podman login
                       has left is used, and what was fetched once is kept
  oci:FOLDER[:name]    a folder in the OCI image layout
  tar:FILE[:name]      an archive of one, or one that docker save has made

A template with a Dockerfile and no lofn.yml, and "lang: dockerfile", which is a
Dockerfile in the handler folder, are left to a container builder: the first of
buildah, podman, docker and nerdctl that works here, or --builder.

With several --platforms the result is an index with an image for each.`,
		Example: `  lofn build
  lofn build --filter 'api-*' --parallel 4 --build-arg GOFLAGS=-mod=vendor
  lofn build --name hello --handler ./hello --lang python3-http --image hello:1.0
  lofn build --runtime container --platforms linux/amd64,linux/arm64
  lofn build --runtime container --base oci:./images:python`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := source.load(cmd)
			if err != nil {
				return err
			}
			_, err = b.run(cmd, s, source.tag)
			return err
		},
	}
	source.add(cmd)
	b.add(cmd)
	return cmd
}

// add adds the flags but for those of sourceFlags.
func (b *buildFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.IntVar(&b.parallel, "parallel", min(4, runtime.NumCPU()), "how many functions to work on at once")
	flags.BoolVar(&b.noCache, "no-cache", false, "run every step and install every dependency anew")
	flags.BoolVar(&b.shrinkwrap, "shrinkwrap", false, "only write the files into ./build")
	flags.BoolVar(&b.quiet, "quiet", false, "do not show what the tools print")
	flags.BoolVar(&b.noPull, "disable-stack-pull", false, "do not pull the templates that the stack file names")
	flags.BoolVar(&b.overwrite, "overwrite", true, "replace templates that are there when pulling")
	flags.StringArrayVarP(&b.args, "build-arg", "b", nil, "environment of the build, NAME=VALUE; may be repeated")
	flags.StringArrayVarP(&b.options, "build-option", "o", nil, "build option of the template, such as dev; may be repeated")
	flags.StringArrayVar(&b.labels, "build-label", nil, "label of the image, NAME=VALUE; may be repeated")
	flags.StringArrayVar(&b.copies, "copy-extra", nil, "file or folder to copy into the function; may be repeated")
	flags.StringVar(&b.runtime, "runtime", "", "what images are run as, over the stack file's annotations: process or container")
	flags.StringVar(&b.base, "base", "", "base image for containers, over the templates' own")
	flags.BoolVar(&b.pull, "pull", false, "ask registries for base images anew, even for those that are kept here")
	flags.StringVar(&b.builder, "builder", "", "builder for Dockerfiles: "+strings.Join(build.Builders(), ", ")+" (default the first that works)")
	flags.StringSliceVar(&b.platforms, "platforms", nil, "what images are for, such as linux/amd64,linux/arm64 (default this machine's)")
	completeFlag(cmd, "runtime", lofn.RuntimeProcess, lofn.RuntimeContainer)
	completeFlag(cmd, "builder", build.Builders()...)
	hidden(cmd, "squash", "debug")
}

// run builds every function that is to be built, and returns the results by
// name. It goes on after one that fails, and fails then.
func (b *buildFlags) run(cmd *cobra.Command, s *stack.Stack, tag string) (map[string]build.Result, error) {
	if b.parallel < 1 {
		return nil, errors.New("--parallel: must be 1 or more")
	}
	requests, err := b.requests(cmd, s, tag)
	if err != nil {
		return nil, err
	}
	if err := b.p.pullMissing(cmd.Context(), s, requests, b.noPull, !b.overwrite); err != nil {
		return nil, err
	}
	board := b.p.newBoard(b.quiet)
	defer board.close()
	var mu sync.Mutex
	results := make(map[string]build.Result, len(requests))
	errs := inParallel(cmd.Context(), b.parallel, requests, func(ctx context.Context, r build.Request) error {
		result, err := board.build(ctx, r)
		mu.Lock()
		defer mu.Unlock()
		results[r.Name] = result
		return err
	})
	names := reported(requests, errs, func(r build.Request) string { return r.Name })
	return results, summary(errs, names, "was not built")
}

// summary is the error of the first item that failed, or where the failures
// have been reported, one that names those items.
func summary(errs []error, names []string, what string) error {
	err := cmp.Or(errs...)
	if errors.Is(err, errReported) {
		return &undone{names: names, what: what}
	}
	return err
}

// build builds one function as a task of the board.
func (b *board) build(ctx context.Context, r build.Request) (build.Result, error) {
	t := b.begin(r.Name)
	r.Log = t
	result, err := build.Build(ctx, r)
	switch {
	case err != nil && ctx.Err() != nil:
		t.leave(func(*program) {})
		return result, ctx.Err()
	case err != nil:
		t.fail("not built", err)
		return result, errReported
	case r.Shrinkwrap:
		t.end("Written: %s", result.Folder)
	case result.Cached:
		t.end("Built: %s (%s, unchanged, %s)", r.Name, result.Image, seconds(result.Elapsed))
	default:
		t.end("Built: %s (%s, %s, %s)", r.Name, result.Image, build.Size(result.Size), seconds(result.Elapsed))
	}
	return result, nil
}

// requests are the builds that the stack file and the flags ask for.
func (b *buildFlags) requests(cmd *cobra.Command, s *stack.Stack, tag string) ([]build.Request, error) {
	args, err := pairs("build-arg", b.args)
	if err != nil {
		return nil, err
	}
	labels, err := pairs("build-label", b.labels)
	if err != nil {
		return nil, err
	}
	images, err := build.OpenImages("")
	if err != nil {
		return nil, err
	}
	var requests []build.Request
	for _, f := range s.Functions {
		if f.SkipBuild {
			continue
		}
		image, err := b.p.image(cmd, f, tag)
		if err != nil {
			return nil, err
		}
		requests = append(requests, build.Request{
			Name: f.Name, Lang: f.Lang, Handler: f.Handler, Image: image,
			Copy:    append(append([]string{}, s.Configuration.Copy...), b.copies...),
			Args:    merged(f.BuildArgs, args),
			Options: append(append([]string{}, f.BuildOptions...), b.options...),
			Labels:  labels, NoCache: b.noCache, Shrinkwrap: b.shrinkwrap, Images: images,
			Runtime: b.runtimeOf(f), Base: b.base, Pull: b.pull, Builder: b.builder,
			Secrets: f.BuildSecrets, Platforms: b.platformsOf(f),
		})
	}
	return requests, nil
}

// runtimeOf is that of the flag, or of the function's annotation.
func (b *buildFlags) runtimeOf(f stack.Function) string {
	return cmp.Or(b.runtime, f.Annotations[lofn.AnnotationRuntime])
}

// platformsOf are those of the flag, or those that the stack file names for
// "faas-cli publish", which makes images for containers.
func (b *buildFlags) platformsOf(f stack.Function) []string {
	isContainer := b.runtimeOf(f) == lofn.RuntimeContainer || isDockerfile(f)
	if len(b.platforms) == 0 && isContainer && f.Platforms != "" {
		return strings.Split(f.Platforms, ",")
	}
	return b.platforms
}

// inParallel runs work on every item, on so many at once, and returns the
// error of each.
func inParallel[T any](ctx context.Context, workers int, items []T, work func(context.Context, T) error) []error {
	errs := make([]error, len(items))
	slots := make(chan struct{}, workers)
	var wg sync.WaitGroup
	for i, item := range items {
		slots <- struct{}{}
		if ctx.Err() != nil {
			errs[i] = ctx.Err()
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = work(ctx, item)
		})
	}
	wg.Wait()
	return errs
}

// pullMissing pulls templates that are wanted and not there: from where the
// stack file says, else from the template store.
func (p *program) pullMissing(ctx context.Context, s *stack.Stack, requests []build.Request, noStack, keep bool) error {
	for _, r := range requests {
		if r.Lang == "" || r.Lang == "dockerfile" {
			continue
		}
		_, err := build.FindTemplate("", r.Lang)
		if lofn.CodeOf(err) != lofn.NotFound {
			continue
		}
		source := ""
		for _, t := range s.Configuration.Templates {
			if t.Name == r.Lang && !noStack {
				source = t.Source
			}
		}
		if err := p.pullTemplate(ctx, r.Lang, source, keep, err); err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }
