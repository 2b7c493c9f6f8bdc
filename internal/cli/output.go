package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// output is how a command prints its result.
type output struct {
	format string
	json   bool
}

func (o *output) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "text", "text or json")
	cmd.Flags().BoolVarP(&o.json, "json", "j", false, "the same as --output=json")
	completeFlag(cmd, "output", "text", "json")
}

// completeFlag offers a flag's values to the shell.
func completeFlag(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// wantsJSON reports whether the result goes to a program.
func (o *output) wantsJSON() (bool, error) {
	switch o.format {
	case "json":
		return true, nil
	case "text", "":
		return o.json, nil
	}
	return false, fmt.Errorf("--output: %q is not a format: use text or json", o.format)
}

func (p *program) outJSON(value any) error {
	encoder := json.NewEncoder(p.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// table writes aligned columns; flush it at the end.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer, head ...string) table {
	t := table{tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)}
	if len(head) > 0 {
		t.row(head...)
	}
	return t
}

func (t table) row(cells ...string) { _, _ = fmt.Fprintln(t.w, strings.Join(cells, "\t")) }
func (t table) flush() error        { return t.w.Flush() }

// isTerminal reports whether a stream is a person's terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// hintStdin tells a person at a terminal that the command waits for input.
func (p *program) hintStdin() {
	if isTerminal(p.Stdin) {
		p.notef("Reading from STDIN - hit (Control + D) to stop.\n")
	}
}

// pairs parses NAME=VALUE flags.
func pairs(flag string, values []string) (map[string]string, error) {
	out := make(map[string]string, len(values))
	for _, value := range values {
		name, rest, ok := strings.Cut(value, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--%s: %q must have the form NAME=VALUE", flag, value)
		}
		out[name] = rest
	}
	return out, nil
}

// merged returns base with over on top; nil if both are empty.
func merged(base, over map[string]string) map[string]string {
	if len(base)+len(over) == 0 {
		return nil
	}
	out := make(map[string]string, len(base)+len(over))
	maps.Copy(out, base)
	maps.Copy(out, over)
	return out
}
