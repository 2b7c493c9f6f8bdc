package cli

import (
	"cmp"
	"context"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"lofn"
)

// Version says which program this is.
type Version struct {
	// Release is a version such as "v1.2.0", or "dev".
	Release string
	// SHA is the commit that the program was built from.
	SHA string
}

// BuildVersion completes what the linker was told with what the Go toolchain
// recorded. Neither part is ever empty.
func BuildVersion(release, sha string) Version {
	v := Version{Release: release, SHA: sha}
	if info, ok := debug.ReadBuildInfo(); ok {
		if v.Release == "" && info.Main.Version != "(devel)" {
			v.Release = info.Main.Version
		}
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" && v.SHA == "" {
				v.SHA = setting.Value
			}
		}
	}
	return Version{Release: cmp.Or(v.Release, "dev"), SHA: cmp.Or(v.SHA, "unknown")}
}

// versions is what `version --json` prints, in faas-cli's form.
type versions struct {
	CLI      cliVersion      `json:"cli"`
	Gateway  gatewayVersion  `json:"gateway,omitzero"`
	Provider providerVersion `json:"provider,omitzero"`
}

type cliVersion struct {
	Commit  string `json:"commit"`
	Version string `json:"version"`
}

type gatewayVersion struct {
	URI     string `json:"uri"`
	Version string `json:"version"`
	SHA     string `json:"sha"`
}

type providerVersion struct {
	Name          string `json:"name"`
	Orchestration string `json:"orchestration"`
	Version       string `json:"version"`
	SHA           string `json:"sha"`
}

func (p *program) versionCommand() *cobra.Command {
	t, out, short := target{p: p}, output{}, false
	var ignored bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of this program and of the gateway",
		Example: "  lofn version\n  lofn version --short-version\n  lofn version --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if short {
				p.outf("%s\n", p.Version.Release)
				return nil
			}
			asJSON, err := out.wantsJSON()
			if err != nil {
				return err
			}
			v := versions{CLI: cliVersion{Commit: p.Version.SHA, Version: p.Version.Release}}
			unreachable := t.addServer(cmd, &v)
			if asJSON {
				err = p.outJSON(v)
			} else {
				p.printVersions(v)
			}
			if unreachable != nil {
				p.notef("%s\n", p.explain(unreachable))
			}
			return err
		},
	}
	t.addGateway(cmd)
	p.addEnvsubst(cmd)
	out.add(cmd)
	cmd.Flags().BoolVar(&short, "short-version", false, "print this program's version only")
	cmd.Flags().BoolVar(&ignored, "warn-update", false, "does nothing: lofn does not look for updates")
	_ = cmd.Flags().MarkHidden("warn-update")
	return cmd
}

// versionTimeout is short: this program's own version is worth printing alone.
const versionTimeout = 5 * time.Second

func (t *target) addServer(cmd *cobra.Command, v *versions) error {
	c, err := t.connect(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), versionTimeout)
	defer cancel()
	var info lofn.Info
	if info, err = c.Info(ctx); err != nil {
		return err
	}
	v.Gateway = gatewayVersion{URI: c.URL(), Version: info.Version.Release, SHA: info.Version.SHA}
	v.Provider = providerVersion{
		Name: info.Provider.Name, Orchestration: info.Provider.Orchestration,
		Version: info.Provider.Version.Release, SHA: info.Provider.Version.SHA,
	}
	return nil
}

func (p *program) printVersions(v versions) {
	p.outf("CLI:\n commit:  %s\n version: %s\n", v.CLI.Commit, v.CLI.Version)
	if v.Gateway.URI == "" {
		return
	}
	p.outf("\nGateway\n uri:     %s\n version: %s\n sha:     %s\n", v.Gateway.URI, v.Gateway.Version, v.Gateway.SHA)
	p.outf("\nProvider\n name:          %s\n orchestration: %s\n version:       %s\n sha:           %s\n",
		v.Provider.Name, v.Provider.Orchestration, v.Provider.Version, v.Provider.SHA)
}
