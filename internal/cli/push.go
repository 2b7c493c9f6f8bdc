package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
	"lofn/internal/build"
	"lofn/internal/stack"
)

func (p *program) pushCommand() *cobra.Command {
	var (
		t        = target{p: p}
		parallel int
		quiet    bool
		tag      string
	)
	cmd := &cobra.Command{
		Use:   "push",
		Short: "Upload the images of functions",
		Long: `Uploads the images that "lofn build" made. An image whose name has no registry
in it goes to the platform's own, with the credentials of the login; others go
where their name says, with what docker login or podman login has left. Images
for several platforms go with all of them.`,
		Example: "  lofn push\n  lofn push --filter hello --gateway http://10.0.0.5:8080",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := p.loadStack(cmd)
			if err != nil {
				return err
			}
			if err := t.checkPush(cmd, s); err != nil {
				return err
			}
			return t.push(cmd, s, tag, parallel, quiet)
		},
	}
	t.addGateway(cmd)
	p.addEnvsubst(cmd)
	addTag(cmd, &tag)
	cmd.Flags().IntVar(&parallel, "parallel", 1, "how many images to upload at once")
	cmd.Flags().BoolVar(&quiet, "quiet", false, "do not show progress")
	return cmd
}

// push uploads the image of every function that is built here.
func (t *target) push(cmd *cobra.Command, s *stack.Stack, tag string, parallel int, quiet bool) error {
	if parallel < 1 {
		return errors.New("--parallel: must be 1 or more")
	}
	images, err := build.OpenImages("")
	if err != nil {
		return err
	}
	opts, err := t.pushOptions(cmd)
	if err != nil {
		return err
	}
	board := t.p.newBoard(quiet)
	defer board.close()
	errs := inParallel(cmd.Context(), parallel, s.Functions, func(ctx context.Context, f stack.Function) error {
		if f.SkipBuild {
			return nil
		}
		image, err := t.p.image(cmd, f, tag)
		if err != nil {
			return err
		}
		return board.push(ctx, images, f.Name, image, opts)
	})
	return summary(errs, reported(s.Functions, errs, func(f stack.Function) string { return f.Name }), "was not pushed")
}

// checkPush is checkLogin if an image goes to the platform's own registry.
func (t *target) checkPush(cmd *cobra.Command, s *stack.Stack) error {
	for _, f := range s.Functions {
		if !f.SkipBuild && !build.NamesRegistry(f.Image) {
			return t.checkLogin(cmd)
		}
	}
	return nil
}

// push uploads one image as a task of the board.
func (b *board) push(ctx context.Context, images *build.Images, name, image string, opts build.PushOptions) error {
	t := b.begin(name)
	opts.Log = t
	digest, err := build.Push(ctx, images, image, opts)
	switch code := lofn.CodeOf(err); {
	case err == nil:
		t.end("Pushed: %s (%s@%s, %s)", name, image, digest, t.elapsed())
		return nil
	case ctx.Err() != nil, code == lofn.Unauthenticated:
		t.leave(func(*program) {})
		return err
	}
	t.fail("not pushed", err)
	return errReported
}

func (t *target) pushOptions(cmd *cobra.Command) (build.PushOptions, error) {
	choice, err := t.choose(cmd)
	if err != nil {
		return build.PushOptions{}, err
	}
	config := client.Config{URL: choice.url}
	if err := t.p.addLogin(&config); err != nil {
		return build.PushOptions{}, err
	}
	choice.user = config.User
	t.p.gateway = choice
	return build.PushOptions{
		Gateway: choice.url, Username: config.User, Password: config.Password, Insecure: t.insecure,
	}, nil
}
