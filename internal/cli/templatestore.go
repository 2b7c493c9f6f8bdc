package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/internal/build"
)

func (p *program) templateStoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Find templates in a template store",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.templateStoreListCommand(), p.templateStoreDescribeCommand(), p.templateStorePullCommand())
	return cmd
}

func addStoreURL(cmd *cobra.Command, location *string) {
	cmd.Flags().StringVarP(location, "url", "u", "", "address of the template store; else OPENFAAS_TEMPLATE_STORE_URL")
}

func (p *program) templateStoreListCommand() *cobra.Command {
	var (
		out                            output
		location, platform             string
		official, recommended, verbose bool
	)
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the templates of the store",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := out.wantsJSON()
			if err != nil {
				return err
			}
			templates, err := p.readTemplateStore(cmd.Context(), location)
			if err != nil {
				return err
			}
			templates = slices.DeleteFunc(templates, func(t build.StoreTemplate) bool {
				return official && t.Official != "true" || recommended && !t.Recommended ||
					platform != "" && !strings.EqualFold(t.Platform, platform)
			})
			if asJSON {
				return p.outJSON(templates)
			}
			return p.printStore(templates, verbose)
		},
	}
	flags := cmd.Flags()
	addStoreURL(cmd, &location)
	flags.StringVarP(&platform, "platform", "p", "", "only templates for a platform, such as x86_64")
	flags.BoolVar(&official, "official", false, "only official templates")
	flags.BoolVarP(&recommended, "recommended", "r", false, "only recommended templates")
	flags.BoolVarP(&verbose, "verbose", "v", false, "print language and platform too")
	flags.StringVar(&out.format, "output", "text", "text or json")
	flags.BoolVarP(&out.json, "json", "j", false, "the same as --output=json")
	completeFlag(cmd, "output", "text", "json")
	flags.Lookup("official").Shorthand = "o"
	return cmd
}

func (p *program) printStore(templates []build.StoreTemplate, verbose bool) error {
	head := []string{"NAME", "RECOMMENDED", "SOURCE", "DESCRIPTION"}
	if verbose {
		head = append(head, "LANGUAGE", "PLATFORM")
	}
	table := newTable(p.Stdout, head...)
	for _, t := range templates {
		row := []string{t.Name, mark(t.Recommended), t.Source, t.Description}
		if verbose {
			row = append(row, t.Language, t.Platform)
		}
		table.row(row...)
	}
	return table.flush()
}

func mark(set bool) string {
	if set {
		return "[x]"
	}
	return "[ ]"
}

// findInStore takes NAME, or SOURCE/NAME where several sources have one.
func findInStore(templates []build.StoreTemplate, name string) (build.StoreTemplate, error) {
	source, plain, qualified := strings.Cut(name, "/")
	if !qualified {
		source, plain = "", name
	}
	for _, t := range templates {
		if t.Name == plain && (source == "" || t.Source == source) {
			return t, nil
		}
	}
	return build.StoreTemplate{}, lofn.Errorf(lofn.NotFound,
		"template %q is not in the template store; run \"lofn template store list\" to see what there is", name)
}

func oneTemplate(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("give the name of one template, not %d", len(args))
	}
	return nil
}

func (p *program) templateStoreDescribeCommand() *cobra.Command {
	var location string
	cmd := &cobra.Command{
		Use:     "describe NAME",
		Aliases: []string{"inspect"},
		Short:   "Show a template of the store",
		Args:    oneTemplate,
		RunE: func(cmd *cobra.Command, args []string) error {
			templates, err := p.readTemplateStore(cmd.Context(), location)
			if err != nil {
				return err
			}
			t, err := findInStore(templates, args[0])
			if err != nil {
				return err
			}
			s := newSheet(p.Stdout, false)
			s.line("Name", t.Name)
			s.line("Description", t.Description)
			s.line("Language", t.Language)
			s.line("Source", t.Source)
			s.line("Repository", t.Repository)
			s.line("Platform", t.Platform)
			s.line("Official", mark(t.Official == "true"))
			s.line("Recommended", mark(t.Recommended))
			return s.w.Flush()
		},
	}
	addStoreURL(cmd, &location)
	return cmd
}

func (p *program) templateStorePullCommand() *cobra.Command {
	f, location := pullFlags{p: p}, ""
	cmd := &cobra.Command{
		Use:     "pull NAME[@REF]",
		Short:   "Pull a template of the store, with the others of its repository",
		Example: "  lofn template store pull ruby-http",
		Args:    oneTemplate,
		RunE: func(cmd *cobra.Command, args []string) error {
			templates, err := p.readTemplateStore(cmd.Context(), location)
			if err != nil {
				return err
			}
			name, ref, _ := strings.Cut(args[0], "@")
			t, err := findInStore(templates, name)
			if err != nil {
				return err
			}
			repository := t.Repository
			if ref != "" {
				repository += "#" + ref
			}
			return p.pull(cmd.Context(), repository, !f.overwrite)
		},
	}
	f.add(cmd)
	addStoreURL(cmd, &location)
	return cmd
}
