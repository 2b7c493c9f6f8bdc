package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
)

const defaultGateway = "http://127.0.0.1:8080"

// apiTimeout bounds one request of the control API.
const apiTimeout = 60 * time.Second

// gatewayChoice is a gateway and why it is that one.
type gatewayChoice struct {
	// url is without a slash at its end.
	url string
	// from names the flag, file or variable that decided.
	from string
	// user is who the credentials are for, "" if there are none.
	user string
}

// target are the flags of a command that talks to a gateway.
type target struct {
	p                         *program
	gateway, namespace, token string
	insecure                  bool
}

// addGateway adds the flags that say which gateway, and as whom.
func (t *target) addGateway(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&t.gateway, "gateway", "g", defaultGateway, "address of the gateway; else provider.gateway of the stack file, else OPENFAAS_URL")
	flags.BoolVar(&t.insecure, "tls-no-verify", false, "accept any TLS certificate")
	flags.StringVarP(&t.token, "token", "k", "", "bearer token to use instead of the login")
}

// add adds the flags of addGateway, and those of commands about functions.
func (t *target) add(cmd *cobra.Command) {
	t.addGateway(cmd)
	cmd.Flags().StringVarP(&t.namespace, "namespace", "n", "", "namespace of the function")
	t.p.addEnvsubst(cmd)
}

// addEnvsubst adds the flag of commands that read the stack file.
func (p *program) addEnvsubst(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.stack.envsubst, "envsubst", true, "substitute ${VARIABLES} in the stack file")
}

// choose decides on the gateway: the flag, the stack file, OPENFAAS_URL, the
// default. An address in the stack file that is the default's counts as unset,
// for `new` writes it into every file, and OPENFAAS_URL is the more deliberate.
func (t *target) choose(cmd *cobra.Command) (gatewayChoice, error) {
	if cmd.Flags().Changed("gateway") {
		return t.chooseWithoutStack(cmd), nil
	}
	fromStack, file, err := t.p.stackGateway(cmd)
	if err != nil {
		return gatewayChoice{}, err
	}
	if fromStack != "" && normalGateway(fromStack) != defaultGateway {
		return gatewayChoice{url: normalGateway(fromStack), from: file}, nil
	}
	return t.chooseWithoutStack(cmd), nil
}

// chooseWithoutStack is choose for commands that are not about a stack file:
// a login is kept for all folders.
func (t *target) chooseWithoutStack(cmd *cobra.Command) gatewayChoice {
	if cmd.Flags().Changed("gateway") {
		return gatewayChoice{url: normalGateway(t.gateway), from: "--gateway"}
	}
	if fromEnv := t.p.Getenv("OPENFAAS_URL"); fromEnv != "" {
		return gatewayChoice{url: normalGateway(fromEnv), from: "OPENFAAS_URL"}
	}
	return gatewayChoice{url: defaultGateway, from: "the default; choose with --gateway or OPENFAAS_URL"}
}

// normalGateway is the form in which the login file keeps an address.
func normalGateway(address string) string {
	address = strings.ToLower(strings.TrimRight(strings.TrimSpace(address), "/"))
	if !strings.HasPrefix(address, "http://") && !strings.HasPrefix(address, "https://") {
		address = "http://" + address
	}
	return address
}

// connect returns a client of the gateway that the flags choose, with the
// credentials of the login file. It does not connect yet.
func (t *target) connect(cmd *cobra.Command) (*client.Client, error) {
	choice, err := t.choose(cmd)
	if err != nil {
		return nil, err
	}
	config := client.Config{URL: choice.url, Token: t.token, UserAgent: t.p.userAgent(), Transport: transport(t.insecure)}
	if t.token == "" {
		if err := t.p.addLogin(&config); err != nil {
			return nil, err
		}
	}
	choice.user = config.User
	if config.Token != "" {
		choice.user = "the token"
	}
	t.p.gateway = choice
	return client.New(config)
}

// checkLogin fails if the gateway cannot be reached or wants another login.
func (t *target) checkLogin(cmd *cobra.Command) error {
	c, err := t.connect(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := apiContext(cmd)
	defer cancel()
	_, err = c.Info(ctx)
	switch lofn.CodeOf(err) {
	case lofn.Unauthenticated, lofn.Unavailable, lofn.DeadlineExceeded:
		return err
	}
	// Whatever else is wrong is for the requests that matter to find out.
	return ctx.Err()
}

// addLogin fills in what the login file has for the gateway.
func (p *program) addLogin(config *client.Config) error {
	logins, err := p.openLogins()
	if err != nil {
		return err
	}
	login, ok := logins.find(config.URL)
	if p.session.Gateway == config.URL {
		login, ok = p.session, true
	}
	switch {
	case !ok:
		return nil
	case login.Auth == authBasic:
		config.User, config.Password, err = login.basic()
		return err
	}
	config.Token = login.Token
	return nil
}

func (p *program) userAgent() string {
	return fmt.Sprintf("lofn/%s (%s; %s)", p.Version.Release, runtime.GOOS, runtime.GOARCH)
}

func transport(insecure bool) http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = changesAtATime
	if insecure {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the user asked for it by name
	}
	return t
}

// warnPlain says where credentials or secrets would cross a network in the
// clear.
func (p *program) warnPlain(address string) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || isLoopback(u.Hostname()) {
		return
	}
	p.notef("warning: %s is not encrypted: others on the network can read what is sent; use https\n", address)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// apiContext bounds one request of the control API.
func apiContext(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), apiTimeout)
}

// ref reads a function's name as given by the user: NAME, or NAME.NAMESPACE
// where --namespace is not given. In the stack file a function may name its
// namespace too.
func (t *target) ref(cmd *cobra.Command, name string) (lofn.Ref, error) {
	if t.namespace != "" {
		return lofn.Ref{Namespace: t.namespace, Name: name}, nil
	}
	if strings.Contains(name, ".") {
		return lofn.ParseHost(name), nil
	}
	if name == "" {
		return lofn.Ref{}, errors.New("the function's name is empty")
	}
	namespace, err := t.p.stackNamespace(cmd, name)
	return lofn.Ref{Namespace: namespace, Name: name}, err
}

// display is how a function is named in messages and addresses: with its
// namespace only where that says something.
func display(ref lofn.Ref) string {
	if ref.Namespace == "" || ref.Namespace == lofn.DefaultNamespace {
		return ref.Name
	}
	return ref.Host()
}
