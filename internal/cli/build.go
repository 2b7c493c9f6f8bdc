package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
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
	overwrite                          bool
}

func (p *program) buildCommand() *cobra.Command {
	b, source := buildFlags{p: p}, sourceFlags{p: p}
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build images of functions with this machine's own tools",
		Example: `  lofn build
  lofn build --filter 'api-*' --parallel 4 --build-arg GOFLAGS=-mod=vendor
  lofn build --name hello --handler ./hello --lang python3-http --image hello:1.0`,
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
	hidden(cmd, "squash", "pull", "debug")
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
		})
	}
	return requests, nil
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
