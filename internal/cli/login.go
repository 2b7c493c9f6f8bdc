package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lofn"
	"lofn/client"
)

// loginFlags are the flags of `login`.
type loginFlags struct {
	target
	user, password string
	fromStdin      bool
	timeout        time.Duration
}

func (p *program) loginCommand() *cobra.Command {
	l := loginFlags{target: target{p: p}}
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Check credentials with a gateway and keep them",
		Long: `Checks credentials with a gateway and keeps them in ~/.openfaas/config.yml
(OPENFAAS_CONFIG names another folder), which faas-cli shares.`,
		Example: "  cat password.txt | lofn login --password-stdin\n  lofn login -u admin -g https://functions.example.org",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return l.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&l.gateway, "gateway", "g", defaultGateway, "address of the gateway; else OPENFAAS_URL")
	flags.BoolVar(&l.insecure, "tls-no-verify", false, "accept any TLS certificate")
	flags.StringVarP(&l.user, "username", "u", "admin", "user name")
	flags.StringVarP(&l.password, "password", "p", "", "password; --password-stdin keeps it out of the shell's history")
	flags.BoolVarP(&l.fromStdin, "password-stdin", "s", false, "read the password from standard input")
	flags.DurationVar(&l.timeout, "timeout", 5*time.Second, "how long the gateway may take to answer")
	return cmd
}

func (l *loginFlags) run(cmd *cobra.Command) error {
	password, err := l.readPassword()
	if err != nil {
		return err
	}
	l.p.gateway = l.chooseWithoutStack(cmd)
	address := l.p.gateway.url
	l.p.warnPlain(address)
	if err := l.check(cmd.Context(), address, password); err != nil {
		return err
	}
	if err := l.p.keepLogin(basicLogin(address, l.user, password)); err != nil {
		return err
	}
	l.p.outf("credentials saved for %s %s\n", l.user, address)
	return nil
}

func (l *loginFlags) readPassword() (string, error) {
	switch {
	case l.user == "":
		return "", errors.New("--username: must not be empty")
	case l.password != "" && l.fromStdin:
		return "", errors.New("--password and --password-stdin cannot be given together: use one of them")
	case l.password != "":
		l.p.notef("warning: --password is kept in the shell's history; use --password-stdin\n")
		return l.password, nil
	}
	text, err := l.p.askPassword(l.fromStdin)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	password := strings.TrimSpace(text)
	if password == "" {
		return "", errors.New("the password is empty: give it with --password-stdin or --password")
	}
	return password, nil
}

// askPassword reads standard input; at a terminal it asks, without showing what
// is typed.
func (p *program) askPassword(fromStdin bool) (string, error) {
	if isTerminal(p.Stdin) {
		p.notef("Password: ")
		text, err := term.ReadPassword(int(p.Stdin.(*os.File).Fd()))
		p.notef("\n")
		return string(text), err
	}
	if !fromStdin {
		return "", nil
	}
	text, err := io.ReadAll(p.Stdin)
	return string(text), err
}

func (l *loginFlags) check(ctx context.Context, address, password string) error {
	c, err := client.New(client.Config{
		URL: address, User: l.user, Password: password, UserAgent: l.p.userAgent(), Transport: transport(l.insecure),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	_, err = c.Functions(ctx, "")
	if lofn.CodeOf(err) == lofn.Unauthenticated {
		return fmt.Errorf("%s refused the user name or the password", address)
	}
	return err
}

func (p *program) keepLogin(entry login) error {
	logins, err := p.openLogins()
	if err != nil {
		return err
	}
	logins.put(entry)
	return logins.save()
}
