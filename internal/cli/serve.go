package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
)

// ServeOptions are what the flags of `serve` say about the platform.
type ServeOptions struct {
	// Listen and MetricsListen are addresses as net.Listen takes them.
	Listen, MetricsListen string
	// Data is the folder that keeps everything.
	Data string
	// Provider names what runs functions, and Containers says more about it.
	Provider   string
	Containers ContainerOptions
	// NoAuth turns authentication of the control API off.
	NoAuth bool
	// TLSCert and TLSKey are files in PEM; with them the platform speaks TLS.
	TLSCert, TLSKey string
	// PrometheusURL is where a Prometheus answers queries, or empty.
	PrometheusURL string
	// Standby is how many interpreters of a kind wait for a function.
	Standby int
	// Queue is about asynchronous calls.
	Queue QueueOptions
	// Quiet asks for warnings and worse only in the platform's own log.
	Quiet bool
	// Upgradable asks to hand over to the program on the disk on SIGHUP.
	Upgradable bool
	// Ready, if not nil, is to be called once, when the platform serves.
	Ready func(ServeInfo)
}

// ServeInfo tells how to reach a platform that serves.
type ServeInfo struct {
	URL, MetricsURL string
	// User and Password are empty with NoAuth.
	User, Password string
	// FirstStart is set if the password was generated just now.
	FirstStart bool
	DataDir    string
}

// Defaults of `serve`.
const (
	defaultListen        = "127.0.0.1:8080"
	defaultMetricsListen = "127.0.0.1:8082"
	defaultProvider      = providerProcess
	defaultStandby       = 1
)

// mostStandby is far more than pays.
const mostStandby = 100

// errCannotServe is for programs that are only a client.
var errCannotServe = errors.New("this program cannot serve: it was built without the platform")

func (p *program) serveCommand() *cobra.Command {
	var (
		o       ServeOptions
		noAuth  = p.Getenv("LOFN_NO_AUTH")
		standby = cmp.Or(p.Getenv("LOFN_STANDBY"), strconv.Itoa(defaultStandby))
		queue   = queueFlags{getenv: p.Getenv}
		contain = containerFlags{getenv: p.Getenv}
	)
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the platform on this machine",
		Long: `Runs the platform on this machine until SIGTERM or Ctrl-C, upon which calls in
flight finish; a second one ends it at once.

With --provider containerd, for which it must be root, it runs container images
in containers, and those that were built for it as processes. Containers serve on
while the platform is stopped, for the next one to take over.

With --tls-cert and --tls-key it serves HTTPS, with HTTP/2, instead of HTTP. Both
files are read again when they change.

SIGHUP upgrades it without a failed call: replace the file of this program, then
send it. The new program takes over the ports and the data and starts the
functions; once they are ready it takes all new calls, and the old process ends
with its last call. A new program that fails to start leaves the old one as it was.

Each flag can be given in the environment too, under the name in its description;
the flag wins.`,
		Example: "  lofn serve\n  lofn serve --listen 0.0.0.0:8080 --data /srv/lofn\n  LOFN_DATA=/srv/lofn lofn serve\n  sudo lofn serve --provider containerd\n  lofn serve --listen :443 --tls-cert fullchain.pem --tls-key privkey.pem",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.Serve == nil {
				return errCannotServe
			}
			var err error
			if o.Data, err = p.dataFolder(o.Data); err != nil {
				return err
			}
			if o.NoAuth, err = strconv.ParseBool(cmp.Or(noAuth, "false")); err != nil {
				return fmt.Errorf("LOFN_NO_AUTH or --no-auth: %q is neither true nor false", noAuth)
			}
			if o.Standby, err = strconv.Atoi(standby); err != nil || o.Standby < 0 || o.Standby > mostStandby {
				return fmt.Errorf("LOFN_STANDBY or --standby: %q is not a number from 0 to %d", standby, mostStandby)
			}
			if o.Queue, err = queue.options(); err != nil {
				return err
			}
			if o.Containers, err = contain.options(); err != nil {
				return err
			}
			if err := checkProvider(o.Provider); err != nil {
				return err
			}
			if o.Provider == providerProcess {
				if err := p.isolate(o.Data); err != nil {
					return err
				}
			}
			o.Ready, o.Upgradable = p.announce, true
			return p.Serve(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Listen, "listen", cmp.Or(p.Getenv("LOFN_LISTEN"), defaultListen), "address to serve at (LOFN_LISTEN)")
	flags.StringVar(&o.Data, "data", p.Getenv("LOFN_DATA"), "folder that keeps everything (LOFN_DATA); default /var/lib/lofn for root, else the user's state folder")
	flags.StringVar(&o.MetricsListen, "metrics-listen", cmp.Or(p.Getenv("LOFN_METRICS_LISTEN"), defaultMetricsListen), "address to serve metrics at (LOFN_METRICS_LISTEN)")
	flags.StringVar(&o.Provider, "provider", cmp.Or(p.Getenv("LOFN_PROVIDER"), defaultProvider), "what runs functions: process, or containerd for containers too (LOFN_PROVIDER)")
	completeFlag(cmd, "provider", providerProcess, providerContainerd)
	flags.StringVar(&noAuth, "no-auth", noAuth, "let anybody control the platform (LOFN_NO_AUTH)")
	flags.Lookup("no-auth").NoOptDefVal = "true"
	flags.StringVar(&o.TLSCert, "tls-cert", p.Getenv("LOFN_TLS_CERT"), "file with the certificate and its chain, to serve TLS with (LOFN_TLS_CERT)")
	flags.StringVar(&o.TLSKey, "tls-key", p.Getenv("LOFN_TLS_KEY"), "file with the certificate's key (LOFN_TLS_KEY)")
	flags.StringVar(&o.PrometheusURL, "prometheus-url", p.Getenv("LOFN_PROMETHEUS_URL"), "Prometheus to ask for the load of functions that are scaled by a query, such as http://127.0.0.1:9090 (LOFN_PROMETHEUS_URL)")
	flags.StringVar(&standby, "standby", standby, "how many interpreters wait, started, for each command line such as 'python3 index.py' that functions use; 0 for none (LOFN_STANDBY)")
	_ = cmd.MarkFlagDirname("data")
	contain.add(cmd)
	queue.add(cmd)
	return cmd
}

// isolate gives Env.Isolate its chance. A run with more rights takes an
// ordinary user for root, so which folder is theirs is settled before.
func (p *program) isolate(data string) error {
	if p.Isolate == nil {
		return nil
	}
	code, ran := p.Isolate(map[string]string{"LOFN_DATA": data})
	if !ran {
		return nil
	}
	return exitCode(code)
}

// dataFolder is the folder given, or else where the platform's state belongs.
func (p *program) dataFolder(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	if os.Geteuid() == 0 {
		return "/var/lib/lofn", nil
	}
	if state := p.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "lofn"), nil
	}
	home := p.Getenv("HOME")
	if home == "" {
		return "", errors.New("--data: give a folder, for HOME is not set")
	}
	return filepath.Join(home, ".local", "state", "lofn"), nil
}

// announce prints where the platform is, and how to log in the first time. The
// password itself is not printed: terminals and journals keep what they show.
func (p *program) announce(info ServeInfo) {
	p.outf("lofn serves at %s (data in %s, metrics at %s/metrics)\n", info.URL, info.DataDir, info.MetricsURL)
	if info.FirstStart {
		p.outf("To log in: lofn login --gateway %s --username %s --password-stdin < %s\n",
			info.URL, info.User, filepath.Join(info.DataDir, "secrets", "basic-auth-password"))
	}
}
