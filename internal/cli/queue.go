package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
)

func (p *program) queueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "queue",
		Short: "Look after asynchronous calls: ask how they went, cancel, redrive or drop them",
		Long: `Looks after the calls that "lofn invoke --async" or /async-function/ queued. A call
is queued, then running, and ends as one of these:

  succeeded   the function answered with a status below 400
  failed      it answered with an error that another attempt would not mend
  dead        its last attempt failed too: it is kept until somebody redrives or
              drops it
  cancelled   somebody called it off`,
		Example: `  lofn queue list hello --state dead
  lofn queue show 0198c0de-7f3a-7e02-9b1d-5a1ab1e00001
  lofn queue redrive --all hello
  lofn queue stats --watch`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		p.queueListCommand(), p.queueShowCommand(), p.queueResultCommand(),
		p.queueCancelCommand(), p.queueRedriveCommand(), p.queueDropCommand(), p.queueStatsCommand(),
	)
	return cmd
}

// queueList are the flags of `queue list`.
type queueList struct {
	target
	output
	states []string
	limit  int
	quiet  bool
}

// mostCalls is how many the gateway lists at most.
const mostCalls = 10_000

func (p *program) queueListCommand() *cobra.Command {
	l := queueList{target: target{p: p}}
	cmd := &cobra.Command{
		Use:     "list [FUNCTION]",
		Aliases: []string{"ls"},
		Short:   "List calls, the oldest first",
		Long: `Lists calls of a function, or of all functions of a namespace, or of all there are,
the oldest first.`,
		Example: `  lofn queue list
  lofn queue list hello --state queued,running
  lofn queue list hello --state dead --limit 1000 --json
  lofn queue cancel $(lofn queue list hello --state queued --quiet)`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: l.completeFunctions,
		RunE:              func(cmd *cobra.Command, args []string) error { return l.run(cmd, args) },
	}
	l.target.add(cmd)
	cmd.Flags().Lookup("namespace").Usage = "namespace of the function; without a function, all namespaces unless one is named"
	l.output.add(cmd)
	flags := cmd.Flags()
	flags.StringSliceVarP(&l.states, "state", "s", nil, "only calls in these states, such as dead,queued")
	flags.IntVar(&l.limit, "limit", 100, "at most so many, up to "+strconv.Itoa(mostCalls))
	flags.BoolVarP(&l.quiet, "quiet", "q", false, "print the ids only")
	completeFlag(cmd, "state", stateNames()...)
	return cmd
}

func stateNames() []string {
	names := make([]string, len(lofn.CallStates))
	for i, state := range lofn.CallStates {
		names[i] = string(state)
	}
	return names
}

func (l *queueList) run(cmd *cobra.Command, args []string) error {
	asJSON, err := l.wantsJSON()
	if err != nil {
		return err
	}
	query, err := l.query(cmd, args)
	if err != nil {
		return err
	}
	c, err := l.connect(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := apiContext(cmd)
	defer cancel()
	calls, err := c.Calls(ctx, query)
	if err != nil {
		return noQueue(err, c)
	}
	if len(calls) == l.limit && l.limit < mostCalls {
		defer l.p.notef("these are the first %d; --limit N lists more\n", l.limit)
	}
	switch {
	case asJSON:
		return l.p.outJSON(calls)
	case l.quiet:
		for _, call := range calls {
			l.p.outf("%s\n", call.ID)
		}
		return nil
	}
	return l.p.listCalls(calls, time.Now())
}

func (l *queueList) query(cmd *cobra.Command, args []string) (lofn.CallQuery, error) {
	q := lofn.CallQuery{Namespace: l.namespace, Limit: l.limit}
	if l.limit < 1 || l.limit > mostCalls {
		return q, fmt.Errorf("--limit: %d is not possible: use a number from 1 to %d", l.limit, mostCalls)
	}
	for _, name := range l.states {
		state := lofn.CallState(strings.TrimSpace(name))
		if !slices.Contains(lofn.CallStates[:], state) {
			return q, fmt.Errorf("--state: %q is not a state: use some of %s", name, strings.Join(stateNames(), ", "))
		}
		q.States = append(q.States, state)
	}
	if len(args) == 0 {
		return q, nil
	}
	ref, err := l.queued(cmd, args[0])
	q.Namespace, q.Name = ref.Namespace, ref.Name
	return q, err
}

// queued is the function whose calls are meant. For a queue no namespace is all
// of them, so the default has to be named.
func (t *target) queued(cmd *cobra.Command, name string) (lofn.Ref, error) {
	ref, err := t.ref(cmd, name)
	if ref.Namespace == "" {
		ref.Namespace = lofn.DefaultNamespace
	}
	return ref, err
}

func (p *program) listCalls(calls []lofn.CallStatus, now time.Time) error {
	head := []string{"Call", "Function", "State", "Attempts", "Status", "Age"}
	due := slices.ContainsFunc(calls, func(c lofn.CallStatus) bool { return c.NextAt != nil })
	if due {
		head = append(head, "Next")
	}
	explained := slices.ContainsFunc(calls, func(c lofn.CallStatus) bool { return c.Reason != "" })
	if explained {
		head = append(head, "Reason")
	}
	t := newTable(p.Stdout, head...)
	for _, call := range calls {
		row := []string{
			call.ID, display(lofn.ParseHost(call.Function)), string(call.State), strconv.Itoa(call.Attempts),
			statusCell(call.Status), age(now.Sub(call.AcceptedAt)),
		}
		if due {
			row = append(row, until(call.NextAt, now))
		}
		if explained {
			row = append(row, clip(call.Reason, longestReason))
		}
		t.row(row...)
	}
	return t.flush()
}

// longestReason is how much of a reason a table has room for; `show` has all.
const longestReason = 100

func statusCell(status int) string {
	if status == 0 {
		return "-"
	}
	return strconv.Itoa(status)
}

// until is in what time something is due, "" if nothing is.
func until(at *time.Time, now time.Time) string {
	switch {
	case at == nil:
		return ""
	case at.Sub(now) < time.Second:
		return "now"
	}
	return "in " + age(at.Sub(now))
}

// age is a span of time as exactly as a person wants to know it. The gateway's
// clock may be ahead of this one.
func age(d time.Duration) string {
	d = max(d, 0)
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	case d < 10*day:
		return fmt.Sprintf("%dd%02dh", d/day, d%day/time.Hour)
	}
	return fmt.Sprintf("%dd", d/day)
}

// noQueue explains a gateway that knows nothing of a queue, such as one of
// OpenFaaS.
func noQueue(err error, c *client.Client) error {
	switch lofn.CodeOf(err) {
	case lofn.NotFound, lofn.Unimplemented:
		return fmt.Errorf("%s has no queue that can be asked: %w", c.URL(), err)
	}
	return err
}

// oneCall is the argument check of commands about one call.
func oneCall(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("give the id of one call, not %d", len(args))
	}
	return callID(args[0])
}

func callID(id string) error {
	if id == "" {
		return errors.New("the id of the call is empty")
	}
	return nil
}

// noSuchCall says where to find the ids of calls; other errors stay as they are.
func noSuchCall(err error, id string) error {
	if lofn.CodeOf(err) != lofn.NotFound {
		return err
	}
	return lofn.Errorf(lofn.NotFound, "no such call: %s; it may have expired: run \"lofn queue list\" to see what there is", id)
}

// completeCalls offers the ids of calls in some states, or in any, to the shell,
// if the gateway answers quickly.
func (t *target) completeCalls(states ...lofn.CallState) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		c, err := t.connect(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := completionContext(cmd)
		defer cancel()
		calls, _ := c.Calls(ctx, lofn.CallQuery{States: states})
		var ids []string
		for _, call := range calls {
			if !slices.Contains(args, call.ID) {
				ids = append(ids, fmt.Sprintf("%s\t%s %s", call.ID, display(lofn.ParseHost(call.Function)), call.State))
			}
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}
