package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"lofn/internal/stack"
)

// upFlags are the flags of `up`: those of build, push and deploy.
type upFlags struct {
	buildFlags
	deployFlags
	source               sourceFlags
	skipPush, skipDeploy bool
	watch                bool
}

func (p *program) upCommand() *cobra.Command {
	u := newUpFlags(p)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build, push and deploy functions, and wait until they are ready",
		Long: `Builds, pushes and deploys the functions of the stack file. Each step is taken for
all functions before the next begins, so that nothing is deployed if one of them
does not build. What --runtime says counts for all three.

The command then waits until the functions are ready, up to --timeout, and fails
with the reason if one is not; --wait=false leaves when the platform accepted them.`,
		Example: "  lofn up\n  lofn up --filter hello --skip-push\n  lofn up --watch",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := u.source.load(cmd)
			if err != nil {
				return err
			}
			if !u.watch {
				return u.run(cmd, s)
			}
			return u.runAndWatch(cmd, s)
		},
	}
	u.add(cmd)
	cmd.Flags().BoolVar(&u.skipPush, "skip-push", false, "do not push")
	cmd.Flags().BoolVar(&u.skipDeploy, "skip-deploy", false, "do not deploy")
	cmd.Flags().BoolVar(&u.watch, "watch", false, "go on and deploy again whatever changes")
	hidden(cmd, "publish")
	return cmd
}

func newUpFlags(p *program) upFlags {
	return upFlags{
		buildFlags: buildFlags{p: p}, deployFlags: deployFlags{target: target{p: p}}, source: sourceFlags{p: p},
	}
}

// runAndWatch is run, and again for whatever changes.
func (u *upFlags) runAndWatch(cmd *cobra.Command, s *stack.Stack) error {
	k, err := newKeeper(u, cmd, s)
	if err != nil {
		return err
	}
	defer k.close()
	if err := u.run(cmd, s); err != nil {
		return err
	}
	for _, f := range s.Functions {
		k.setDone(f.Name, true)
	}
	return k.run(cmd.Context())
}

// add adds the flags of build, push and deploy.
func (u *upFlags) add(cmd *cobra.Command) {
	u.addGateway(cmd)
	u.source.add(cmd)
	u.buildFlags.add(cmd)
	u.deployFlags.add(cmd, true)
}

func (u *upFlags) run(cmd *cobra.Command, s *stack.Stack) error {
	if err := u.check(cmd, s); err != nil {
		return err
	}
	if _, err := u.buildFlags.run(cmd, s, u.source.tag); err != nil || u.shrinkwrap {
		return u.consequence(err)
	}
	if !u.skipPush {
		if err := u.push(cmd, s, u.source.tag, u.parallel, u.quiet); err != nil {
			return u.consequence(err)
		}
	}
	if u.skipDeploy {
		return nil
	}
	return u.deployFlags.run(cmd, s, u.source.tag)
}

// check finds out before the builds, which may take minutes, that what comes
// after them would be refused.
func (u *upFlags) check(cmd *cobra.Command, s *stack.Stack) error {
	switch {
	case u.shrinkwrap || u.skipPush && u.skipDeploy:
		return nil
	case u.skipDeploy:
		return u.checkPush(cmd, s)
	}
	return u.checkLogin(cmd)
}

// consequence adds to the functions that failed what it means for the others.
func (u *upFlags) consequence(err error) error {
	if _, ok := errors.AsType[*undone](err); !ok || u.skipDeploy {
		return err
	}
	return fmt.Errorf("%w, so nothing was deployed", err)
}
