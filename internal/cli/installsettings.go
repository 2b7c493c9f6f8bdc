package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lofn/internal/install"
)

// serviceFlags are the flags of `serve`, as settings of a service.
type serviceFlags struct{ flags *pflag.FlagSet }

// newServiceFlags takes them from the command itself, so that a flag that serve
// gets one day is a setting, too.
func newServiceFlags() *serviceFlags {
	cmd, _ := pretend(nil)
	flags := cmd.Flags()
	flags.SortFlags = false // what belongs together stays together
	data, provider := flags.Lookup("data"), flags.Lookup("provider")
	data.Usage, data.DefValue = "folder that keeps everything (LOFN_DATA)", install.DefaultData
	provider.Usage, provider.DefValue = "what runs functions (LOFN_PROVIDER); default containerd if one answers on this machine, else process", ""
	return &serviceFlags{flags}
}

// pretend is a serve command that says what it would do, with variables and
// nothing else in its environment.
func pretend(variables map[string]string) (*cobra.Command, *ServeOptions) {
	got := new(ServeOptions)
	p := &program{Env: Env{
		Getenv: func(name string) string { return variables[name] },
		Serve: func(_ context.Context, o ServeOptions) error {
			*got = o
			return nil
		},
	}}
	return p.serveCommand(), got
}

// serveOptions is what serve would do as a service with these variables. An
// error is about one of them.
func serveOptions(variables map[string]string) (ServeOptions, error) {
	with := map[string]string{"LOFN_DATA": install.DefaultData}
	for name, value := range variables {
		if value != "" {
			with[name] = value
		}
	}
	cmd, got := pretend(with)
	err := cmd.RunE(cmd, nil)
	return *got, err
}

// variable finds the name in the description of a flag.
var variable = regexp.MustCompile(` \((LOFN_[A-Z_]+)\)`)

// each calls do with the flags that are settings, in order.
func (s *serviceFlags) each(do func(name string, f *pflag.Flag)) {
	s.flags.VisitAll(func(f *pflag.Flag) {
		if found := variable.FindStringSubmatch(f.Usage); found != nil {
			do(found[1], f)
		}
	})
}

// add gives a command the flags.
func (s *serviceFlags) add(cmd *cobra.Command) {
	s.each(func(_ string, f *pflag.Flag) { cmd.Flags().AddFlag(f) })
}

// paths are the flags that name files. A service has another working directory
// than the shell from which it is installed.
var paths = map[string]bool{"data": true, "tls-cert": true, "tls-key": true, "nats-creds": true, "nats-ca": true}

// given are the settings that the command line has.
func (s *serviceFlags) given() (map[string]string, error) {
	var failed error
	values := make(map[string]string)
	s.each(func(name string, f *pflag.Flag) {
		if !f.Changed {
			return
		}
		values[name] = f.Value.String()
		if strings.ContainsAny(values[name], "\n\r\x00") {
			failed = fmt.Errorf("--%s: %q has a line break, which a setting cannot have", f.Name, values[name])
		}
		if paths[f.Name] && values[name] != "" {
			path, err := filepath.Abs(values[name])
			if err != nil {
				failed = err
			}
			values[name] = path
		}
	})
	return values, failed
}

// list are all settings, with the values that are given.
func (s *serviceFlags) list(given map[string]string) (all []install.Setting) {
	s.each(func(name string, f *pflag.Flag) {
		value, ok := given[name]
		setting := install.Setting{Name: name, Usage: strings.Replace(f.Usage, " ("+name+")", "", 1), Default: f.DefValue, Value: value, Given: ok}
		if f.Name == "provider" { // the default is for an installation, not for serve
			setting.Usage, setting.Default = "what runs functions", defaultProvider
		}
		all = append(all, setting)
	})
	return all
}
