package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
)

func (p *program) removeCommand() *cobra.Command {
	t := target{p: p}
	cmd := &cobra.Command{
		Use:               "remove [NAME...]",
		Aliases:           []string{"rm", "delete"},
		Short:             "Remove functions by name, or all of the stack file",
		Example:           "  lofn remove hello\n  lofn remove -f stack.yml --filter 'test-*'",
		ValidArgsFunction: t.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error {
			refs, err := t.removals(cmd, args)
			if err != nil {
				return err
			}
			c, err := t.connect(cmd)
			if err != nil {
				return err
			}
			return t.removeAll(cmd, c, refs)
		},
	}
	t.add(cmd)
	return cmd
}

// removals are the functions named, or without a name those of the stack file.
func (t *target) removals(cmd *cobra.Command, args []string) ([]lofn.Ref, error) {
	var refs []lofn.Ref
	for _, name := range args {
		ref, err := t.ref(cmd, name)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	if len(args) > 0 {
		return refs, nil
	}
	s, err := t.p.loadStack(cmd)
	if lofn.CodeOf(err) == lofn.NotFound && t.p.stack.file == "" {
		return nil, errors.New("give the name of a function, or a stack file with -f")
	}
	if err != nil {
		return nil, err
	}
	for _, f := range s.Functions {
		refs = append(refs, lofn.Ref{Namespace: t.namespaceOf(f.Namespace), Name: f.Name})
	}
	return refs, nil
}

// namespaceOf is the flag's namespace, or else the stack file's.
func (t *target) namespaceOf(inStack string) string {
	if t.namespace != "" {
		return t.namespace
	}
	return inStack
}

// removeAll goes on after a function that cannot be removed, and fails then.
func (t *target) removeAll(cmd *cobra.Command, c *client.Client, refs []lofn.Ref) error {
	var failed error
	for _, ref := range refs {
		ctx, cancel := apiContext(cmd)
		err := c.Remove(ctx, ref)
		cancel()
		switch {
		case err == nil:
			t.p.outf("Removed: %s\n", display(ref))
		case lofn.CodeOf(err) == lofn.NotFound:
			t.p.notef("No existing function to remove: %s\n", display(ref))
			failed = errReported
		default:
			return err
		}
	}
	return failed
}
