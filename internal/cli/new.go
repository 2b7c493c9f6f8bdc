package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/internal/build"
	"lofn/internal/stack"
)

// newFlags are the flags of `new`.
type newFlags struct {
	p                                        *program
	lang, gateway, handler, prefix, appendTo string
	list, quiet                              bool
	limits, requests                         lofn.Resources
}

func (p *program) newCommand() *cobra.Command {
	n := newFlags{p: p}
	cmd := &cobra.Command{
		Use:   "new NAME --lang TEMPLATE",
		Short: "Make a function's folder from a template, and its entry in the stack file",
		Long: `Makes a folder with the starter files of a template, and an entry in the stack
file: a new stack.yaml, or the stack.yaml or stack.yml that is there.`,
		Example: `  lofn new --list
  lofn new hello --lang python3-http
  lofn new resize --lang node22 --append images.yml --prefix registry.example.org/me`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if n.list {
				return n.p.listTemplates()
			}
			if len(args) == 0 || n.lang == "" {
				return errors.New("give a name and a template, as in \"lofn new hello --lang python3-http\"; \"lofn new --list\" shows the templates")
			}
			return n.run(cmd, args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&n.lang, "lang", "", "template, such as python3-http")
	flags.StringVarP(&n.gateway, "gateway", "g", defaultGateway, "address of the gateway to write into a new stack file; else OPENFAAS_URL")
	flags.StringVar(&n.handler, "handler", "", "folder to make (default the function's name)")
	flags.StringVarP(&n.prefix, "prefix", "p", "", "registry and owner to put before the image's name; else OPENFAAS_PREFIX")
	flags.StringVarP(&n.appendTo, "append", "a", "", "stack file to add the function to")
	flags.BoolVar(&n.list, "list", false, "list the templates")
	flags.BoolVarP(&n.quiet, "quiet", "q", false, "do not print the template's notes")
	flags.StringVar(&n.limits.Memory, "memory-limit", "", "most memory an instance may use, such as 128Mi")
	flags.StringVar(&n.limits.CPU, "cpu-limit", "", "most CPU an instance may use, such as 500m")
	flags.StringVar(&n.requests.Memory, "memory-request", "", "memory to set aside for an instance")
	flags.StringVar(&n.requests.CPU, "cpu-request", "", "CPU to set aside for an instance")
	_ = cmd.MarkFlagDirname("handler")
	_ = cmd.RegisterFlagCompletionFunc("lang", completeTemplates)
	return cmd
}

func completeTemplates(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	templates, _ := build.ListTemplates("")
	var names []string
	for _, t := range templates {
		names = append(append(names, t.Name), t.Aliases...)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (n *newFlags) run(cmd *cobra.Command, name string) error {
	if err := (lofn.Ref{Namespace: lofn.DefaultNamespace, Name: name}).Validate(); err != nil {
		return err
	}
	if err := n.p.pullMissingFor(cmd.Context(), n.lang); err != nil {
		return err
	}
	file := n.stackFile()
	function := stack.Function{
		Name: name, Lang: n.lang, Image: n.image(name),
		Handler: "./" + strings.TrimPrefix(cmp.Or(n.handler, name), "./"),
		Limits:  resourcesOver(nil, n.limits), Requests: resourcesOver(nil, n.requests),
	}
	// The text comes before the folder: what cannot be added leaves no trace.
	text, created, err := n.text(cmd, file, function)
	if err != nil {
		return err
	}
	made, err := build.NewFunction(build.ScaffoldRequest{Name: name, Lang: n.lang, Handler: cmp.Or(n.handler, name)})
	if err != nil {
		return err
	}
	if err := stack.WriteFile(file, text); err != nil {
		return err
	}
	n.p.outf("Folder: %s created.\n", made.Handler)
	if created {
		n.p.outf("Stack file written: %s\n", file)
	} else {
		n.p.outf("Stack file updated: %s\n", file)
	}
	if made.WelcomeMessage != "" && !n.quiet {
		n.p.outf("\nNotes:\n%s\n", strings.TrimSpace(made.WelcomeMessage))
	}
	return nil
}

// stackFile is where the entry goes.
func (n *newFlags) stackFile() string {
	if file := cmp.Or(n.appendTo, n.p.stack.file); file != "" {
		return file
	}
	if file, err := stack.Find(""); err == nil {
		return file
	}
	return stack.DefaultFiles()[0]
}

func (n *newFlags) image(name string) string {
	image := name + ":latest"
	if prefix := strings.TrimSuffix(cmp.Or(n.prefix, n.p.Getenv("OPENFAAS_PREFIX")), "/"); prefix != "" {
		image = prefix + "/" + image
	}
	return image
}

// text is the stack file with the function, and whether it is a new one.
func (n *newFlags) text(cmd *cobra.Command, file string, function stack.Function) (text []byte, created bool, err error) {
	data, err := os.ReadFile(file)
	switch {
	case err == nil:
		text, err = stack.Append(file, data, function)
		return text, false, err
	case !errors.Is(err, fs.ErrNotExist):
		return nil, false, fmt.Errorf("stack file: %w", err)
	case n.appendTo != "":
		return nil, false, fmt.Errorf("--append: %s does not exist", n.appendTo)
	}
	t := target{p: n.p, gateway: n.gateway}
	text, err = stack.New(t.chooseWithoutStack(cmd).url, function)
	return text, true, err
}

// pullMissingFor pulls a template that is not there from the template store.
func (p *program) pullMissingFor(ctx context.Context, lang string) error {
	_, err := build.FindTemplate("", lang)
	if lofn.CodeOf(err) != lofn.NotFound {
		return err
	}
	return p.pullTemplate(ctx, lang, "", false, err)
}
