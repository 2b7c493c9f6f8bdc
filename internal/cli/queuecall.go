package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
)

func (p *program) queueShowCommand() *cobra.Command {
	t, out := target{p: p}, output{}
	cmd := &cobra.Command{
		Use:               "show ID",
		Aliases:           []string{"describe"},
		Short:             "Show one call: its state, its attempts and its request",
		Example:           "  lofn queue show 0198c0de-7f3a-7e02-9b1d-5a1ab1e00001 --json",
		Args:              oneCall,
		ValidArgsFunction: firstOnly(t.completeCalls()),
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
			call, err := c.CallDetail(ctx, args[0])
			if err != nil {
				return noSuchCall(err, args[0])
			}
			if asJSON {
				return p.outJSON(call)
			}
			return p.printCall(call, time.Now())
		},
	}
	t.addGateway(cmd)
	out.add(cmd)
	return cmd
}

// firstOnly completes the first argument and no other.
func firstOnly(complete cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, word)
	}
}

func (p *program) printCall(call lofn.CallDetail, now time.Time) error {
	s := newSheet(p.Stdout, false)
	s.line("Call", call.ID)
	s.line("Function", display(lofn.ParseHost(call.Function)))
	s.line("State", callState(call.CallStatus, now))
	s.line("Attempts", strconv.Itoa(call.Attempts))
	s.line("Status", statusLine(call.Status))
	s.line("Reason", call.Reason)
	s.line("Accepted", moment(&call.AcceptedAt, now))
	s.line("Started", moment(call.StartedAt, now))
	s.line("Ended", moment(call.EndedAt, now))
	s.line("Took", took(call.StartedAt, call.EndedAt))
	s.line("Refused Since", moment(call.RefusedSince, now))
	s.line("Kept Until", moment(call.ExpiresAt, now))
	s.line("Request", requestLine(call))
	headers := make(map[string]string, len(call.Header))
	for name, values := range call.Header {
		headers[name] = strings.Join(values, ", ")
	}
	s.pairs("Headers", headers)
	if call.ResultSize != nil {
		s.line("Answer", fmt.Sprintf("%s; print it with \"lofn queue result %s\"", size(*call.ResultSize), call.ID))
	}
	s.list("Callback", callback(call.Callback, now))
	return s.w.Flush()
}

// callState is the state, and what happens next.
func callState(call lofn.CallStatus, now time.Time) string {
	switch {
	case call.State == lofn.CallDead:
		return string(call.State) + ", until it is redriven or dropped"
	case call.State == lofn.CallQueued && call.NextAt != nil:
		return fmt.Sprintf("%s, attempt %d %s", call.State, call.Attempts+1, dueText(call.NextAt, now))
	}
	return string(call.State)
}

func dueText(at *time.Time, now time.Time) string {
	if text := until(at, now); text != "now" {
		return text
	}
	return "is due"
}

func statusLine(status int) string {
	if status == 0 {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

// moment is a time and how far away it is, "" for none.
func moment(at *time.Time, now time.Time) string {
	if at == nil || at.IsZero() {
		return ""
	}
	text := at.Format(time.RFC3339)
	if at.After(now) {
		return fmt.Sprintf("%s (in %s)", text, age(at.Sub(now)))
	}
	return fmt.Sprintf("%s (%s ago)", text, age(now.Sub(*at)))
}

// took is how long the last attempt was, "" if that is not known.
func took(from, to *time.Time) string {
	if from == nil || to == nil {
		return ""
	}
	return to.Sub(*from).Round(time.Millisecond).String()
}

// requestLine is what is left of the request: of a call that has ended, and is
// not dead, that is nothing.
func requestLine(call lofn.CallDetail) string {
	if call.Method == "" {
		return ""
	}
	target := call.Path
	if target == "" {
		target = "/"
	}
	if call.Query != "" {
		target += "?" + call.Query
	}
	return fmt.Sprintf("%s %s, %s", call.Method, target, size(call.Size))
}

// size is a number of bytes as a person reads it.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return plural(int(n), "byte")
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// callback tells where the outcome goes, and whether it got there.
func callback(c *lofn.CallbackStatus, now time.Time) []string {
	if c == nil {
		return nil
	}
	state := c.State
	switch c.State {
	case lofn.CallbackWaiting:
		state = "waits for the outcome"
	case lofn.CallbackPending:
		if state = fmt.Sprintf("attempt %d is under way", c.Attempts); c.NextAt != nil {
			state = fmt.Sprintf("not delivered yet, attempt %d %s", c.Attempts+1, dueText(c.NextAt, now))
		}
	case lofn.CallbackDelivered, lofn.CallbackFailed:
		state = fmt.Sprintf("%s after %s", c.State, plural(c.Attempts, "attempt"))
	}
	if c.Status != 0 {
		state += ", answered " + statusLine(c.Status)
	}
	lines := []string{c.URL, state}
	if c.Reason != "" {
		lines = append(lines, c.Reason)
	}
	return lines
}

func (p *program) queueResultCommand() *cobra.Command {
	t, wait := target{p: p}, false
	cmd := &cobra.Command{
		Use:   "result ID",
		Short: "Print the answer that a call ended with",
		Long: `Prints the body of the answer that a call ended with, whatever its status, to
standard output. If the status is 400 or above it is named on standard error, and
the exit code is 1. So it is if there is no answer: because the call has not ended,
which --wait waits for, or because it was cancelled or the function never answered.`,
		Example: `  lofn queue result 0198c0de-7f3a-7e02-9b1d-5a1ab1e00001 > answer.json
  timeout 10m lofn queue result --wait 0198c0de-7f3a-7e02-9b1d-5a1ab1e00001`,
		Args:              oneCall,
		ValidArgsFunction: firstOnly(t.completeCalls()),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.connect(cmd)
			if err != nil {
				return err
			}
			if wait {
				if err := p.awaitCall(cmd.Context(), c, args[0]); err != nil {
					return noSuchCall(err, args[0])
				}
			}
			return p.result(cmd.Context(), c, args[0])
		},
	}
	t.addGateway(cmd)
	cmd.Flags().BoolVarP(&wait, "wait", "w", false, "wait until the call has ended")
	return cmd
}

// awaitCall returns when a call has its outcome. A gateway that is away for a
// while is waited for: the call is not lost.
func (p *program) awaitCall(ctx context.Context, c *client.Client, id string) error {
	reached := false
	for look := shortestLook; ; look = min(2*look, longestLook) {
		call, err := c.CallDetail(ctx, id)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && call.State.Final():
			return nil
		case err != nil && (!reached || !passes(err)):
			return err
		}
		reached = true
		if !pause(ctx, look) {
			return ctx.Err()
		}
	}
}

// passes reports whether an error is one of a gateway that is being started
// again, or busy.
func passes(err error) bool {
	switch lofn.CodeOf(err) {
	case lofn.Unavailable, lofn.Unreachable, lofn.Overloaded, lofn.DeadlineExceeded:
		return true
	}
	return false
}

// result prints an answer, and fails if the call did.
func (p *program) result(ctx context.Context, c *client.Client, id string) error {
	result, err := c.CallResult(ctx, id)
	switch lofn.CodeOf(err) {
	case lofn.Conflict:
		return fmt.Errorf("%w; --wait waits for it", err)
	case lofn.NotFound:
		return p.noResult(ctx, c, id, err)
	}
	if err != nil {
		return err
	}
	defer func() { _ = result.Body.Close() }()
	if n, err := io.Copy(p.Stdout, result.Body); err != nil {
		return fmt.Errorf("call %s: its answer broke off after %d bytes: %w", id, n, err)
	}
	if result.Status < 400 {
		return nil
	}
	p.notef("lofn: call %s was answered %s\n", id, statusLine(result.Status))
	return errReported
}

// noResult tells a call that ended without an answer from one that there is not.
func (p *program) noResult(ctx context.Context, c *client.Client, id string, err error) error {
	call, detailErr := c.CallDetail(ctx, id)
	if detailErr != nil {
		return noSuchCall(err, id)
	}
	text := fmt.Sprintf("call %s is %s, and there is no answer", id, call.State)
	if call.Reason != "" {
		text += ": " + call.Reason
	}
	return errors.New(text)
}
