package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func (p *program) completionCommand() *cobra.Command {
	var shell string
	cmd := &cobra.Command{
		Use:       "completion bash|zsh|fish|powershell",
		Short:     "Print a script that completes commands and names in the shell",
		Example:   "  source <(lofn completion bash)\n  lofn completion fish > ~/.config/fish/completions/lofn.fish",
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				shell = args[0]
			}
			root := cmd.Root()
			switch shell {
			case "bash":
				return root.GenBashCompletionV2(p.Stdout, true)
			case "zsh":
				return root.GenZshCompletion(p.Stdout)
			case "fish":
				return root.GenFishCompletion(p.Stdout, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(p.Stdout)
			case "":
				return fmt.Errorf("give a shell: bash, zsh, fish or powershell")
			}
			return fmt.Errorf("%q is not a shell that lofn can complete in: use bash, zsh, fish or powershell", shell)
		},
	}
	cmd.Flags().StringVar(&shell, "shell", "", "the shell, as an alternative to the argument")
	return cmd
}

// completionContext bounds what a press of the tab key may cost.
func completionContext(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	return context.WithTimeout(ctx, time.Second)
}
