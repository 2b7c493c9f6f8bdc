package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"lofn"
)

func (p *program) listCommand() *cobra.Command {
	var (
		t              = target{p: p}
		out            output
		quiet, verbose bool
		order          string
	)
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List functions",
		Example: "  lofn list\n  lofn list --verbose --sort invocations\n  lofn list --namespace dev --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := out.wantsJSON()
			if err != nil {
				return err
			}
			functions, err := t.list(cmd, order)
			switch {
			case err != nil:
				return err
			case asJSON:
				return p.outJSON(functions)
			case quiet:
				for _, f := range functions {
					p.outf("%s\n", f.Name)
				}
				return nil
			case verbose:
				return p.listVerbose(functions)
			}
			return p.listShort(functions)
		},
	}
	t.add(cmd)
	out.add(cmd)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the names only")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print image, runtime and creation time too")
	cmd.Flags().StringVar(&order, "sort", "name", "name, invocations or creation")
	completeFlag(cmd, "sort", "name", "invocations", "creation")
	return cmd
}

func (t *target) list(cmd *cobra.Command, order string) ([]lofn.FunctionStatus, error) {
	compare, ok := map[string]func(a, b lofn.FunctionStatus) int{
		"name":        func(a, b lofn.FunctionStatus) int { return cmp.Compare(a.Name, b.Name) },
		"invocations": func(a, b lofn.FunctionStatus) int { return cmp.Compare(b.InvocationCount, a.InvocationCount) },
		"creation":    func(a, b lofn.FunctionStatus) int { return a.CreatedAt.Compare(b.CreatedAt) },
	}[order]
	if !ok {
		return nil, fmt.Errorf("--sort: %q is not an order: use name, invocations or creation", order)
	}
	c, err := t.connect(cmd)
	if err != nil {
		return nil, err
	}
	ctx, cancel := apiContext(cmd)
	defer cancel()
	functions, err := c.Functions(ctx, t.namespace)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(functions, compare)
	return functions, nil
}

func (p *program) listShort(functions []lofn.FunctionStatus) error {
	t := newTable(p.Stdout, "Function", "Invocations", "Replicas", "Ready")
	for _, f := range functions {
		t.row(f.Name, calls(f), count(f.Replicas), count(f.AvailableReplicas))
	}
	return t.flush()
}

func (p *program) listVerbose(functions []lofn.FunctionStatus) error {
	t := newTable(p.Stdout, "Function", "Image", "Runtime", "Invocations", "Replicas", "Ready", "CreatedAt")
	for _, f := range functions {
		t.row(f.Name, f.Image, f.Runtime, calls(f), count(f.Replicas), count(f.AvailableReplicas), f.CreatedAt.Format(time.RFC3339))
	}
	return t.flush()
}

func calls(f lofn.FunctionStatus) string { return strconv.FormatFloat(f.InvocationCount, 'f', 0, 64) }
func count(n uint64) string              { return strconv.FormatUint(n, 10) }

// completeFunctions offers the names of deployed functions to the shell, if the
// gateway answers quickly.
func (t *target) completeFunctions(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := t.connect(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := completionContext(cmd)
	defer cancel()
	functions, _ := c.Functions(ctx, t.namespace)
	names := make([]string, len(functions))
	for i, f := range functions {
		names[i] = f.Name
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
