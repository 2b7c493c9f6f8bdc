package cli

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

func (p *program) scaleCommand() *cobra.Command {
	t := target{p: p}
	cmd := &cobra.Command{
		Use:   "scale NAME REPLICAS",
		Short: "Set the number of replicas of a function",
		Long: `Asks for so many replicas of a function, 0 to stop it until it is called or scaled
again. The command returns when the platform accepted the number. The label
com.openfaas.scale.max of the function is the most that may be asked for. A
deployment keeps the number, but for at least com.openfaas.scale.min. Where the
function's labels let its load decide, the number holds for a while only.`,
		Example:           "  lofn scale hello 3\n  lofn scale hello 0 --namespace dev",
		Args:              nameAndReplicas,
		ValidArgsFunction: t.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error {
			replicas, err := parseReplicas(args[1])
			if err != nil {
				return err
			}
			return t.scale(cmd, args[0], replicas)
		},
	}
	t.add(cmd)
	return cmd
}

func nameAndReplicas(_ *cobra.Command, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("give the name of a function and a number of replicas, such as \"lofn scale hello 3\"")
	}
	return nil
}

func parseReplicas(text string) (uint64, error) {
	replicas, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of replicas: use a whole number from 0", text)
	}
	return replicas, nil
}

func (t *target) scale(cmd *cobra.Command, name string, replicas uint64) error {
	ref, err := t.ref(cmd, name)
	if err != nil {
		return err
	}
	c, err := t.connect(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := apiContext(cmd)
	defer cancel()
	if err := c.Scale(ctx, ref, replicas); err != nil {
		return noSuchFunction(err, ref)
	}
	t.p.outf("Scaled: %s (%s)\n", display(ref), plural(int(replicas), "replica"))
	return nil
}

// plural is a count of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}
