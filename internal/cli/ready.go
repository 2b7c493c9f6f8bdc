package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
)

func (p *program) readyCommand() *cobra.Command {
	var (
		t        = target{p: p}
		attempts int
		interval time.Duration
	)
	cmd := &cobra.Command{
		Use:               "ready [NAME]",
		Short:             "Wait until the gateway, or a function, is ready",
		Example:           "  lofn ready\n  lofn ready hello --namespace dev --attempts 10 --interval 500ms",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: t.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if attempts < 1 {
				return errors.New("--attempts: must be 1 or more")
			}
			c, err := t.connect(cmd)
			if err != nil {
				return err
			}
			what, check := "gateway", c.Healthy
			if len(args) == 1 {
				ref, err := t.ref(cmd, args[0])
				if err != nil {
					return err
				}
				what, check = "function "+display(ref), functionReady(c, ref)
			}
			return p.await(cmd.Context(), what, check, attempts, interval)
		},
	}
	t.add(cmd)
	cmd.Flags().IntVar(&attempts, "attempts", 60, "how often to look")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "time between two looks")
	return cmd
}

func functionReady(c *client.Client, ref lofn.Ref) func(context.Context) error {
	return func(ctx context.Context) error {
		status, err := c.Function(ctx, ref)
		if err != nil {
			return noSuchFunction(err, ref)
		}
		if status.AvailableReplicas == 0 {
			return errors.New(notReady(status))
		}
		return nil
	}
}

// notReady says why a function without a ready replica has none.
func notReady(status lofn.FunctionStatus) string {
	if status.Replicas == 0 {
		return "it is scaled to zero; a call starts it"
	}
	for _, instance := range status.Instances {
		if instance.Reason != "" {
			return fmt.Sprintf("%s: %s", instance.State, instance.Reason)
		}
	}
	return fmt.Sprintf("0 of %d replicas are ready", status.Replicas)
}

// await checks until the check passes, at most so often. A login that is
// refused will not mend itself.
func (p *program) await(ctx context.Context, what string, check func(context.Context) error, attempts int, interval time.Duration) error {
	var last error
	for i := range attempts {
		p.notef("[%d/%d] Waiting for %s\n", i+1, attempts, what)
		if last = check(ctx); last == nil {
			p.outf("Ready: %s\n", what)
			return nil
		}
		if ctx.Err() != nil || lofn.CodeOf(last) == lofn.Unauthenticated {
			return last
		}
		if i+1 < attempts && !pause(ctx, interval) {
			return ctx.Err()
		}
	}
	return fmt.Errorf("%s is not ready after %s: %w", what, interval*time.Duration(attempts), last)
}

// pause reports whether the time passed before the context ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
