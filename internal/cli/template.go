package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/internal/build"
)

const (
	defaultTemplateStore = "https://raw.githubusercontent.com/openfaas/store/master/templates.json"
	// storeTimeout bounds reading the template store: where there is no
	// network, that should be found out soon.
	storeTimeout = 10 * time.Second
)

func (p *program) templateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "template",
		Short: "List and pull templates",
		Long: `lofn brings templates of its own ("lofn template list"); others are pulled from
git repositories into ./template.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:     "list",
			Aliases: []string{"ls"},
			Short:   "List the templates that are here",
			Args:    cobra.NoArgs,
			RunE:    func(*cobra.Command, []string) error { return p.listTemplates() },
		},
		p.templatePullCommand(),
		p.templateStoreCommand(),
	)
	return cmd
}

func (p *program) listTemplates() error {
	templates, err := build.ListTemplates("")
	if err != nil {
		return err
	}
	table := newTable(p.Stdout, "NAME", "ALIASES", "FROM")
	for _, t := range templates {
		// A folder has the one name that it has.
		from, aliases := "./template", ""
		if t.BuiltIn {
			from, aliases = "built in", strings.Join(t.Aliases, ", ")
		}
		table.row(t.Name, aliases, from)
	}
	return table.flush()
}

// pullFlags are the flags of the commands that pull.
type pullFlags struct {
	p         *program
	overwrite bool
}

func (f *pullFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.overwrite, "overwrite", true, "replace templates that are there")
	hidden(cmd, "debug")
}

func (p *program) templatePullCommand() *cobra.Command {
	f := pullFlags{p: p}
	cmd := &cobra.Command{
		Use:   "pull [REPOSITORY[#REF]]",
		Short: "Pull the templates of a git repository, or lofn's own, into ./template",
		Long: `Without a repository, and without OPENFAAS_TEMPLATE_URL, lofn's own templates are
written, each under all of its names. lofn itself does not need them there, but
faas-cli does, and it is how to begin a template of your own.`,
		Example: `  lofn template pull https://github.com/openfaas/templates#1.0
  lofn template pull stack                 those that the stack file names`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			repository := p.Getenv("OPENFAAS_TEMPLATE_URL")
			if len(args) == 1 {
				repository = args[0]
			}
			return p.pull(cmd.Context(), repository, !f.overwrite)
		},
	}
	f.add(cmd)
	cmd.AddCommand(p.templatePullStackCommand())
	return cmd
}

func (p *program) templatePullStackCommand() *cobra.Command {
	f := pullFlags{p: p}
	cmd := &cobra.Command{
		Use:   "stack",
		Short: "Pull the templates that the stack file names under configuration.templates",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := p.loadStack(cmd)
			if err != nil {
				return err
			}
			if len(s.Configuration.Templates) == 0 {
				return fmt.Errorf("%s names no templates under configuration.templates", s.File)
			}
			for _, t := range s.Configuration.Templates {
				if err := p.pullTemplate(cmd.Context(), t.Name, t.Source, !f.overwrite, nil); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

func (p *program) pull(ctx context.Context, repository string, keep bool) error {
	p.notef("Pulling templates from %s\n", cmp.Or(repository, "lofn itself"))
	names, err := build.Pull(ctx, build.PullRequest{URL: repository, Keep: keep})
	if err != nil {
		return err
	}
	p.outf("Pulled: %s\n", strings.Join(names, ", "))
	return nil
}

// pullTemplate pulls one template from its source, or where that is empty from
// where the template store says. missing, if not nil, says that the template
// is not here, and is the error where the store does not help.
func (p *program) pullTemplate(ctx context.Context, name, source string, keep bool, missing error) error {
	if source != "" {
		return p.pull(ctx, source, keep)
	}
	plain, ref, _ := strings.Cut(name, "@")
	templates, err := p.readTemplateStore(ctx, "")
	if err != nil {
		if missing != nil {
			p.notef("%v\n", err)
			return missing
		}
		return err
	}
	for _, t := range templates {
		if t.Name == plain {
			repository := t.Repository
			if ref != "" {
				repository += "#" + ref
			}
			return p.pull(ctx, repository, keep)
		}
	}
	return cmp.Or(missing, lofn.Errorf(lofn.NotFound, "template %q is not in the template store", name))
}

func (p *program) readTemplateStore(ctx context.Context, location string) ([]build.StoreTemplate, error) {
	location = cmp.Or(location, p.Getenv("OPENFAAS_TEMPLATE_STORE_URL"), defaultTemplateStore)
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return build.TemplateStore(ctx, location)
}
