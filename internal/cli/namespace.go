package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
)

func (p *program) namespaceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "namespace",
		Aliases: []string{"ns"},
		Short:   "Manage namespaces, which keep functions and secrets apart",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		p.namespaceListCommand(), p.namespaceGetCommand(),
		p.namespacePutCommand("create", "Create a namespace", "Created", (*client.Client).CreateNamespace),
		p.namespacePutCommand("update", "Replace the labels and annotations of a namespace", "Updated", (*client.Client).UpdateNamespace),
		p.namespaceRemoveCommand(),
	)
	return cmd
}

func oneNamespace(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("give the name of one namespace, not %d", len(args))
	}
	return lofn.ValidateNamespace(args[0])
}

func (p *program) namespaceListCommand() *cobra.Command {
	t, out := target{p: p}, output{}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List namespaces",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := out.wantsJSON()
			if err != nil {
				return err
			}
			c, err := t.connect(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := apiContext(cmd)
			defer cancel()
			names, err := c.Namespaces(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return p.outJSON(names)
			}
			p.outf("Namespaces:\n")
			for _, name := range names {
				p.outf(" - %s\n", name)
			}
			return nil
		},
	}
	t.addGateway(cmd)
	out.add(cmd)
	return cmd
}

func (p *program) namespaceGetCommand() *cobra.Command {
	t, out := target{p: p}, output{}
	cmd := &cobra.Command{
		Use:   "get NAME",
		Short: "Show a namespace",
		Args:  oneNamespace,
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := out.wantsJSON()
			if err != nil {
				return err
			}
			c, err := t.connect(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := apiContext(cmd)
			defer cancel()
			namespace, err := c.Namespace(ctx, args[0])
			if err != nil {
				return noSuchNamespace(err, args[0])
			}
			if asJSON {
				return p.outJSON(namespace)
			}
			s := newSheet(p.Stdout, true)
			s.line("Name", namespace.Name)
			s.pairs("Labels", namespace.Labels)
			s.pairs("Annotations", namespace.Annotations)
			return s.w.Flush()
		},
	}
	t.addGateway(cmd)
	out.add(cmd)
	return cmd
}

func noSuchNamespace(err error, name string) error {
	if lofn.CodeOf(err) != lofn.NotFound {
		return err
	}
	return lofn.Errorf(lofn.NotFound, "no such namespace: %s; run \"lofn namespace list\" to see what there is", name)
}

// namespacePutCommand is `create` and `update`, which differ in one call.
func (p *program) namespacePutCommand(
	verb, short, done string, put func(*client.Client, context.Context, lofn.Namespace) error,
) *cobra.Command {
	var (
		t                   = target{p: p}
		labels, annotations []string
	)
	cmd := &cobra.Command{
		Use:     verb + " NAME",
		Short:   short,
		Example: fmt.Sprintf("  lofn namespace %s dev --label team=genomics", verb),
		Args:    oneNamespace,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			namespace := lofn.Namespace{Name: args[0]}
			if namespace.Labels, err = pairs("label", labels); err != nil {
				return err
			}
			if namespace.Annotations, err = pairs("annotation", annotations); err != nil {
				return err
			}
			c, err := t.connect(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := apiContext(cmd)
			defer cancel()
			if err := put(c, ctx, namespace); err != nil {
				return noSuchNamespace(err, args[0])
			}
			p.outf("%s: %s\n", done, args[0])
			return nil
		},
	}
	t.addGateway(cmd)
	cmd.Flags().StringArrayVarP(&labels, "label", "l", nil, "label, NAME=VALUE; may be repeated")
	cmd.Flags().StringArrayVar(&annotations, "annotation", nil, "annotation, NAME=VALUE; may be repeated")
	return cmd
}

func (p *program) namespaceRemoveCommand() *cobra.Command {
	t := target{p: p}
	cmd := &cobra.Command{
		Use:     "remove NAME",
		Aliases: []string{"rm", "delete"},
		Short:   "Remove a namespace",
		Args:    oneNamespace,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.connect(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := apiContext(cmd)
			defer cancel()
			if err := c.RemoveNamespace(ctx, args[0]); err != nil {
				return noSuchNamespace(err, args[0])
			}
			p.outf("Removed: %s\n", args[0])
			return nil
		},
	}
	t.addGateway(cmd)
	return cmd
}
