// Package cli is the command line: a file for each command, with the verbs,
// flags, environment and login file of faas-cli, so that hands need not
// relearn. Commands that are about functions talk to a gateway through
// package client; `serve` and `dev` run the platform itself, through
// Env.Serve.
//
// Results go to standard output, everything else to standard error. The exit
// code is 0 for success, 1 for failure and 130 when the user interrupted.
package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
)

// Env is what a command line runs in. Tests give their own.
type Env struct {
	// Args are the arguments without the program's name.
	Args []string
	// Stdin, Stdout and Stderr are the process's own. Where they are files on
	// a terminal, commands prompt and draw progress.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Getenv reads the environment, "" for what is not set.
	Getenv func(string) string
	// Serve runs the platform until ctx ends. Nil means that this program
	// cannot; `serve` and `dev` then say so.
	Serve func(ctx context.Context, o ServeOptions) error
	// Isolate, if not nil, is called before Serve and anything that belongs to
	// it. It may run the whole command line once more, with these variables in
	// its environment and more rights, and then returns that run's exit code
	// and true.
	Isolate func(environment map[string]string) (code int, ran bool)
	// Providers are what Serve can run functions with, as ServeOptions has them.
	Providers []string
	// Clear, if not nil, removes what a platform with these options, which has
	// ended, left on the machine outside of its data folder. It is not an error
	// if there is nothing.
	Clear func(ctx context.Context, o ServeOptions) error
	// Version is what `version` prints.
	Version Version
}

const (
	exitFailure     = 1
	exitInterrupted = 130
)

// Main runs one command line and returns the exit code. When ctx ends the
// command stops what it does.
func Main(ctx context.Context, env Env) int {
	p := &program{Env: env}
	root := p.rootCommand()
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ended, ok := errors.AsType[exitCode](err); ok {
		return int(ended)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	if text := p.explain(err); text != "" {
		p.notef("%s\n", text)
	}
	return exitFailure
}

// program is one run of the command line.
type program struct {
	Env
	// stack are the flags that select functions of a stack file.
	stack stackFlags
	// gateway is the one that the command chose to talk to, for messages.
	gateway gatewayChoice
	// session, if it has a gateway, is a login for this command alone, which
	// wins over the login file.
	session login
	// writing keeps lines whole that are written at the same time.
	writing sync.Mutex
}

// stackFlags select a stack file and functions in it.
type stackFlags struct {
	file, filter, regex string
	envsubst            bool
}

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "lofn",
		Short: "Functions as a service on machines of your own",
		Long: `lofn builds, deploys, serves and calls functions.

  lofn serve               runs the platform on this machine
  lofn new hello --lang python3-http
  lofn up                  builds, pushes and deploys what stack.yml describes
  lofn invoke hello        calls it
  lofn dev                 all of these, again on every save`,
		Version:       p.Version.Release,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringVarP(&p.stack.file, "yaml", "f", "", "path or URL of the stack file (default stack.yaml, then stack.yml)")
	flags.StringVar(&p.stack.filter, "filter", "", "only functions of the stack file whose name matches a wildcard")
	flags.StringVar(&p.stack.regex, "regex", "", "only functions of the stack file whose name matches a regular expression")
	p.stack.envsubst = true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see \"%s --help\"", err, cmd.CommandPath())
	})
	root.AddCommand(p.commands()...)
	return root
}

// outf writes a result.
func (p *program) outf(format string, args ...any) { p.writef(p.Stdout, format, args...) }

// notef writes what is not a result: progress, hints, warnings.
func (p *program) notef(format string, args ...any) { p.writef(p.Stderr, format, args...) }

func (p *program) writef(w io.Writer, format string, args ...any) {
	p.writing.Lock()
	defer p.writing.Unlock()
	_, _ = fmt.Fprintf(w, format, args...)
}

// errReported ends a command that has said on its own what went wrong.
var errReported = errors.New("reported")

// undone ends a command that has said on its own what went wrong with each of
// several functions: it names them once more, at the end, where it is read.
type undone struct {
	// names are the functions', in order.
	names []string
	// what is what did not happen, such as "was not built".
	what string
}

func (u *undone) Error() string {
	what := u.what
	if rest, ok := strings.CutPrefix(what, "was "); ok && len(u.names) > 1 {
		what = "were " + rest
	}
	return strings.Join(u.names, ", ") + " " + what
}

// reported are the names of the items whose work ended with errReported.
func reported[T any](items []T, errs []error, name func(T) string) []string {
	var names []string
	for i, err := range errs {
		if errors.Is(err, errReported) {
			names = append(names, name(items[i]))
		}
	}
	return names
}

// exitCode ends a command whose work another run of it has done.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// explain turns an error into what a person should read: what happened, and
// what to do about it.
func (p *program) explain(err error) string {
	if errors.Is(err, errReported) {
		return ""
	}
	if unreachable, ok := errors.AsType[*client.UnreachableError](err); ok {
		return p.explainUnreachable(err, unreachable)
	}
	if lofn.CodeOf(err) == lofn.Unauthenticated && p.isFromGateway(err) {
		return p.explainUnauthenticated()
	}
	return "lofn: " + err.Error()
}

// isFromGateway tells the gateway's refusals, its registry's too, from those of
// other registries.
func (p *program) isFromGateway(err error) bool {
	if _, ok := errors.AsType[*client.StatusError](err); ok {
		return true
	}
	u, parseErr := url.Parse(p.gateway.url)
	return parseErr == nil && u.Host != "" && strings.Contains(err.Error(), u.Host)
}

func (p *program) explainUnreachable(err error, unreachable *client.UnreachableError) string {
	text := fmt.Sprintf("cannot reach lofn at %s: %v", unreachable.URL, unreachable.Err)
	if lofn.CodeOf(err) == lofn.DeadlineExceeded {
		return text
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return text + "; name its authority with SSL_CERT_FILE, or give --tls-no-verify"
	}
	return fmt.Sprintf("%s; is \"lofn serve\" running? (gateway from %s)", text, p.gateway.from)
}

func (p *program) explainUnauthenticated() string {
	if p.gateway.user == "" {
		return fmt.Sprintf("not logged in to %s: run \"lofn login --gateway %s\"", p.gateway.url, p.gateway.url)
	}
	return fmt.Sprintf("%s refused the credentials of %s: run \"lofn login --gateway %s\" again",
		p.gateway.url, p.gateway.user, p.gateway.url)
}
