package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
)

// callChange is what a command does to each of several calls.
type callChange struct {
	// verb names it, and past says that it was done.
	verb, past string
	// fits are the states of calls to which it can be done.
	fits []lofn.CallState
	// final says that it cannot be taken back, so that --all needs --yes.
	final bool
	// do changes a call and says in a word what came of it.
	do func(context.Context, *client.Client, string) (string, error)
}

func (p *program) queueCancelCommand() *cobra.Command {
	return p.changeCommand(&cobra.Command{
		Use:   "cancel ID... | cancel --all FUNCTION --yes",
		Short: "Call calls off that are queued or running",
		Long: `Calls calls off. One that is queued is cancelled when the command returns. One that
is running is told to stop, as if its caller had left, and is cancelled when it
has; what it has done by then is done.`,
		Example: "  lofn queue cancel 0198c0de-7f3a-7e02-9b1d-5a1ab1e00001\n  lofn queue cancel --all hello --yes",
	}, callChange{
		verb: "cancel", past: "cancelled", fits: []lofn.CallState{lofn.CallQueued, lofn.CallRunning}, final: true,
		do: func(ctx context.Context, c *client.Client, id string) (string, error) {
			call, err := c.CancelCall(ctx, id)
			if call.State == lofn.CallCancelled {
				return "Cancelled", err
			}
			return "Cancelling", err
		},
	})
}

func (p *program) queueRedriveCommand() *cobra.Command {
	return p.changeCommand(&cobra.Command{
		Use:   "redrive ID... | redrive --all FUNCTION",
		Short: "Queue dead calls again",
		Long: `Queues dead calls again, with all their attempts before them. They keep their ids,
requests and callbacks.`,
		Example: "  lofn queue redrive 0198c0de-7f3a-7e02-9b1d-5a1ab1e00001\n  lofn queue redrive --all hello",
	}, callChange{
		verb: "redrive", past: "redriven", fits: []lofn.CallState{lofn.CallDead},
		do: func(ctx context.Context, c *client.Client, id string) (string, error) {
			_, err := c.RedriveCall(ctx, id)
			return "Redriven", err
		},
	})
}

func (p *program) queueDropCommand() *cobra.Command {
	return p.changeCommand(&cobra.Command{
		Use:     "drop ID... | drop --all FUNCTION --yes",
		Short:   "Forget dead calls, with their requests and answers",
		Example: "  lofn queue drop 0198c0de-7f3a-7e02-9b1d-5a1ab1e00001\n  lofn queue drop --all hello --yes",
	}, callChange{
		verb: "drop", past: "dropped", fits: []lofn.CallState{lofn.CallDead}, final: true,
		do: func(ctx context.Context, c *client.Client, id string) (string, error) {
			return "Dropped", c.DropCall(ctx, id)
		},
	})
}

// changing are the flags of a command that changes calls.
type changing struct {
	target
	callChange
	all string
	yes bool
}

// changeCommand completes a command, which has its texts, with flags and work.
func (p *program) changeCommand(cmd *cobra.Command, change callChange) *cobra.Command {
	f := changing{target: target{p: p}, callChange: change}
	cmd.ValidArgsFunction = f.completeCalls(change.fits...)
	cmd.RunE = f.run
	f.add(cmd)
	flags := cmd.Flags()
	flags.Lookup("namespace").Usage = "namespace of the function of --all"
	flags.StringVar(&f.all, "all", "", "all "+f.which()+" calls of a function")
	_ = cmd.RegisterFlagCompletionFunc("all", f.completeFunctions)
	if change.final {
		flags.BoolVarP(&f.yes, "yes", "y", false, "with --all: do it; otherwise it is only counted")
	}
	return cmd
}

// which calls the change is for, in words.
func (f *changing) which() string {
	words := make([]string, len(f.fits))
	for i, state := range f.fits {
		words[i] = string(state)
	}
	return strings.Join(words, " and ")
}

func (f *changing) run(cmd *cobra.Command, args []string) error {
	switch {
	case cmd.Flags().Changed("all") == (len(args) > 0):
		return errors.New("give either ids of calls, such as \"lofn queue list --quiet\" prints, or --all FUNCTION")
	case slices.Contains(args, ""):
		return callID("")
	}
	c, err := f.connect(cmd)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return f.everything(cmd, c)
	}
	failed, err := f.each(cmd.Context(), c, args, f.p.newBoard(true), func(id, word string) { f.p.outf("%s: %s\n", word, id) })
	return f.failure(failed, err)
}

// changesAtATime is how many calls are changed at the same time: the gateway
// writes to the disk once for all that come together.
const changesAtATime = 16

// each changes calls and tells done of each, several at a time. It goes on after
// those that cannot be changed, and returns them; or an error that would be that
// of all others too.
func (f *changing) each(ctx context.Context, c *client.Client, ids []string, b *board, done func(id, word string)) ([]string, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	errs := inParallel(ctx, changesAtATime, ids, func(ctx context.Context, id string) error {
		limited, cancel := context.WithTimeout(ctx, apiTimeout)
		defer cancel()
		word, err := f.do(limited, c, id)
		switch {
		case err == nil:
			done(id, word)
			return nil
		case endsAll(err):
			stop(err)
			return err
		case f.all != "" && (lofn.CodeOf(err) == lofn.Conflict || lofn.CodeOf(err) == lofn.NotFound):
			return nil // since it was listed it has gone on by itself
		}
		b.note("%s", f.refusal(id, err))
		return errReported
	})
	return reported(ids, errs, func(id string) string { return id }), context.Cause(ctx)
}

// refusal is why a call was not changed. The gateway most often names the call
// by itself.
func (f *changing) refusal(id string, err error) string {
	if strings.Contains(err.Error(), id) {
		return err.Error()
	}
	return fmt.Sprintf("call %s was not %s: %v", id, f.past, err)
}

// endsAll reports whether an error has nothing to do with the call that was to
// be changed.
func endsAll(err error) bool {
	_, unreachable := errors.AsType[*client.UnreachableError](err)
	return unreachable || lofn.CodeOf(err) == lofn.Unauthenticated || lofn.CodeOf(err) == lofn.Forbidden
}

// failure names the calls that were not changed, but not thousands of them.
func (f *changing) failure(ids []string, err error) error {
	const most = 10
	switch {
	case err != nil:
		return err
	case len(ids) == 0:
		return nil
	case len(ids) > most:
		ids = append(slices.Clone(ids[:most]), fmt.Sprintf("and %d more", len(ids)-most))
	}
	return &undone{ids, "was not " + f.past}
}

// everything changes all calls of a function that the change is for.
func (f *changing) everything(cmd *cobra.Command, c *client.Client) error {
	ref, err := f.queued(cmd, f.all)
	if err != nil {
		return err
	}
	total, err := f.count(cmd, c, ref)
	switch {
	case err != nil:
		return err
	case total == 0:
		f.p.notef("%s has no %s calls\n", display(ref), f.which())
		return nil
	case f.final && !f.yes:
		return fmt.Errorf("--all: this would %s %s of %s for good: add --yes to do it", f.verb, plural(total, f.which()+" call"), display(ref))
	}
	b := f.p.newBoard(!f.p.canDraw(f.p.Stderr))
	defer b.close()
	w := tally{task: b.begin(display(ref)), total: total, words: map[string]int{}}
	failed, err := f.batches(cmd, c, ref, &w)
	w.task.leave(func(p *program) {
		for _, word := range slices.Sorted(maps.Keys(w.words)) {
			p.outf("%s: %s of %s\n", word, plural(w.words[word], "call"), display(ref))
		}
	})
	return f.failure(failed, err)
}

// count is how many calls of a function the change is for.
func (f *changing) count(cmd *cobra.Command, c *client.Client, ref lofn.Ref) (total int, err error) {
	ctx, cancel := apiContext(cmd)
	defer cancel()
	counts, err := c.QueueCounts(ctx, ref.Namespace)
	if err != nil {
		return 0, noQueue(err, c)
	}
	for _, q := range counts {
		if q.Function != ref.Host() {
			continue
		}
		held := map[lofn.CallState]int{lofn.CallQueued: q.Queued, lofn.CallRunning: q.Running, lofn.CallDead: q.Dead}
		for _, state := range f.fits {
			total += held[state]
		}
	}
	return total, nil
}

// batches changes calls as long as there are some that it has not seen: what is
// redriven may be dead again before the others have had their turn.
func (f *changing) batches(cmd *cobra.Command, c *client.Client, ref lofn.Ref, w *tally) (failed []string, err error) {
	for seen := map[string]bool{}; ; {
		ctx, cancel := apiContext(cmd)
		calls, err := c.Calls(ctx, lofn.CallQuery{Namespace: ref.Namespace, Name: ref.Name, States: f.fits, Limit: mostCalls})
		cancel()
		if err != nil {
			return failed, err
		}
		var ids []string
		for _, call := range calls {
			if !seen[call.ID] {
				seen[call.ID] = true
				ids = append(ids, call.ID)
			}
		}
		if len(ids) == 0 {
			if len(calls) == mostCalls {
				w.task.board.note("%s: the oldest %d calls are %s, still or again; younger ones were left as they are", display(ref), mostCalls, f.which())
			}
			return failed, nil
		}
		left, err := f.each(cmd.Context(), c, ids, w.task.board, w.add)
		if failed = append(failed, left...); err != nil {
			return failed, err
		}
	}
}

// tally counts what came of calls, and shows it on a board.
type tally struct {
	task  *task
	total int

	mu    sync.Mutex
	words map[string]int
	done  int
}

func (w *tally) add(_, word string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.words[word]++
	w.done++
	if w.task.board.live {
		_, _ = fmt.Fprintf(w.task, "%s %d of %d\n", word, w.done, max(w.done, w.total))
	}
}
