package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lofn/internal/install"
)

// containerProvider is the provider that needs containerd.
const containerProvider = "containerd"

// installFlags are those of `install` that are not settings of the service.
type installFlags struct {
	place   install.Place
	noStart bool
	dryRun  bool
}

func (f *installFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.place.Root, "root", "", "folder to take for the root of the file system: no service is started then")
	flags.StringVar(&f.place.Prefix, "prefix", install.DefaultPrefix, "folder whose bin has the program")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only say what would be done")
	_ = cmd.MarkFlagDirname("root")
	_ = cmd.MarkFlagDirname("prefix")
}

// complete makes the root an absolute path; that of the machine is none.
func (f *installFlags) complete() (err error) {
	if f.place.Root == "" {
		return nil
	}
	if f.place.Root, err = filepath.Abs(f.place.Root); f.place.Root == "/" {
		f.place.Root = ""
	}
	return err
}

func (p *program) installCommand() *cobra.Command {
	var f installFlags
	settings := newServiceFlags()
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Make this machine a server, or bring it a newer lofn (root, systemd)",
		Long: `Copies this program to /usr/local/bin, writes the settings, and a unit for
systemd, and starts the service, which comes back with the machine. What is in the
way is said before anything is written; what fails half-way is taken back.

Run by a newer lofn, it upgrades the service without a failed call. What there is
already is left alone; when all of it is, there is nothing to do.

The flags of serve become settings in /etc/lofn/lofn.env, when that is written for
the first time. From then on it is yours, and kept: edit it, and run systemctl
restart lofn. Without --provider it is containerd if one answers on this machine.`,
		Example: "  sudo ./lofn install\n  sudo ./lofn install --listen 0.0.0.0:8080 --data /srv/lofn\n  lofn install --root ./package --prefix /usr",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.Serve == nil {
				return errCannotServe
			}
			if err := f.complete(); err != nil {
				return err
			}
			return p.install(cmd, f, settings)
		},
	}
	f.add(cmd)
	settings.add(cmd)
	cmd.Flags().BoolVar(&f.noStart, "no-start", false, "neither start nor upgrade the service now")
	return cmd
}

// install makes the plan and runs it.
func (p *program) install(cmd *cobra.Command, f installFlags, settings *serviceFlags) error {
	o := install.Options{Place: f.place, Start: !f.noStart}
	var err error
	if o.Program, err = os.Executable(); err != nil {
		return err
	}
	serve, why, err := p.settle(settings, &o)
	if err != nil {
		return err
	}
	plan, err := install.NewInstall(cmd.Context(), o)
	if err != nil {
		return err
	}
	defer plan.Close()
	if len(plan.Steps()) == 0 {
		p.outf("Nothing to do: lofn %s is installed.\n", p.Version.Release)
		p.notes(plan)
		return nil
	}
	if why != "" {
		p.outf("Provider: %s\n", why)
	}
	if err := p.carryOut(cmd, plan, f.dryRun); err != nil || f.dryRun {
		return err
	}
	p.sayInstalled(o, serve)
	return nil
}

// settle makes the settings of the service, and says what comes of them.
func (p *program) settle(settings *serviceFlags, o *install.Options) (serve ServeOptions, why string, err error) {
	given, err := p.given(settings)
	if err != nil {
		return serve, "", err
	}
	have, kept, err := o.Place.Settings()
	if err != nil {
		return serve, "", err
	}
	values := have
	if !kept {
		values = given
		if given["LOFN_PROVIDER"] == "" && o.Root == "" {
			given["LOFN_PROVIDER"], why = p.chooseProvider(containerdSocket(given))
		}
	}
	if serve, err = serveOptions(values); err != nil && kept {
		err = fmt.Errorf("/etc/lofn/lofn.env: %w", err)
	}
	o.Settings = settings.list(given)
	o.Service = install.Service{Listen: serve.Listen, MetricsListen: serve.MetricsListen, Data: serve.Data, TLS: serve.TLSCert != ""}
	if serve.Provider == containerProvider {
		o.Service.Containerd = containerdSocket(values)
	}
	return serve, why, err
}

// given are the settings that the command line has, if serve would take them.
func (p *program) given(settings *serviceFlags) (map[string]string, error) {
	given, err := settings.given()
	if err != nil {
		return nil, err
	}
	if name := given["LOFN_PROVIDER"]; name != "" && !slices.Contains(p.Providers, name) {
		return nil, fmt.Errorf("--provider: %q is unknown: use %s", name, strings.Join(p.Providers, " or "))
	}
	_, err = serveOptions(given)
	return given, err
}

// containerdSocket is where settings say that containerd listens.
func containerdSocket(settings map[string]string) string {
	return cmp.Or(settings["LOFN_CONTAINERD_SOCKET"], install.ContainerdSocket)
}

// chooseProvider is for those who have not said which one, and says why.
func (p *program) chooseProvider(socket string) (name, why string) {
	switch {
	case !slices.Contains(p.Providers, containerProvider):
		return defaultProvider, ""
	case install.ContainerdAnswers(socket):
		return containerProvider, fmt.Sprintf("%s, for one answers at %s", containerProvider, socket)
	}
	return defaultProvider, fmt.Sprintf("%s, for no containerd answers at %s", defaultProvider, socket)
}

// carryOut runs the plan, or shows it.
func (p *program) carryOut(cmd *cobra.Command, plan *install.Plan, dry bool) error {
	if dry {
		for _, step := range plan.Steps() {
			p.outf("would %s\n", step)
		}
		p.notes(plan)
		return nil
	}
	err := plan.Run(cmd.Context(), func(step string) {
		p.outf("%s%s\n", strings.ToUpper(step[:1]), step[1:])
	})
	if err == nil {
		p.notes(plan)
	}
	return err
}

func (p *program) notes(plan *install.Plan) {
	for _, note := range plan.Notes {
		p.notef("Note: %s.\n", note)
	}
}

// sayInstalled tells where the platform is now, or what is left to do.
func (p *program) sayInstalled(o install.Options, serve ServeOptions) {
	switch {
	case o.Root != "":
		p.outf("Installed below %s. On the machine that it becomes: systemctl enable --now lofn\n", o.Root)
		return
	case !o.Start:
		p.outf("Installed. To start it: systemctl start lofn; to upgrade it while it runs: systemctl reload lofn\n")
		return
	}
	user, _ := os.ReadFile(filepath.Join(serve.Data, "secrets", "basic-auth-user"))
	p.announce(ServeInfo{
		URL: o.Service.URL(), MetricsURL: o.Service.MetricsURL(), DataDir: serve.Data,
		User: cmp.Or(strings.TrimSpace(string(user)), "admin"), FirstStart: !serve.NoAuth,
	})
	p.outf("Its log: journalctl -u lofn\n")
}

func (p *program) uninstallCommand() *cobra.Command {
	var (
		f          installFlags
		purge, yes bool
	)
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Stop the service that install made, and remove it (root, systemd)",
		Long: `Stops the service, once calls under way have finished, and removes its unit and
program, and the containers of its functions. Data and settings stay, so that a
later install goes on with them, unless --purge is given. What is not there is not
missed.`,
		Example: "  sudo lofn uninstall\n  sudo lofn uninstall --purge",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.complete(); err != nil {
				return err
			}
			return p.uninstall(cmd, f, purge, yes)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the data and the settings, too: functions, secrets, images, asynchronous calls, logs")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask whether --purge is meant")
	return cmd
}

func (p *program) uninstall(cmd *cobra.Command, f installFlags, purge, yes bool) error {
	r, err := p.removal(f.place)
	if err != nil {
		return err
	}
	r.Purge = purge
	plan, err := install.NewUninstall(cmd.Context(), r)
	if err != nil {
		return err
	}
	defer plan.Close()
	if len(plan.Steps()) == 0 {
		p.outf("Nothing to do: lofn is not installed.\n")
		p.notes(plan)
		return nil
	}
	if purge && !yes && !f.dryRun {
		if err := p.confirmPurge(r.Data); err != nil {
			return err
		}
	}
	return p.carryOut(cmd, plan, f.dryRun)
}

// removal is what there is to remove, as the settings say.
func (p *program) removal(place install.Place) (install.Removal, error) {
	have, _, err := place.Settings()
	if err != nil {
		return install.Removal{}, err
	}
	serve, err := serveOptions(have)
	if err != nil { // settings that cannot be used have a folder all the same
		serve = ServeOptions{Data: cmp.Or(have["LOFN_DATA"], install.DefaultData)}
		p.notef("Note: /etc/lofn/lofn.env: %s.\n", err)
	}
	r := install.Removal{Place: place, Data: serve.Data}
	if p.Clear != nil {
		r.Clear = func(ctx context.Context) error { return p.Clear(ctx, serve) }
	}
	return r, nil
}

// confirmPurge asks whoever is at the terminal.
func (p *program) confirmPurge(data string) error {
	if !isTerminal(p.Stdin) {
		return errors.New("--purge removes all functions, secrets, images and calls in " + data + ": give --yes, too, if that is meant")
	}
	p.notef("This removes all functions, secrets, images, asynchronous calls and logs in %s for good. Write yes to go on: ", data)
	answer, _ := bufio.NewReader(p.Stdin).ReadString('\n')
	if strings.TrimSpace(answer) != "yes" {
		return errors.New("nothing was removed")
	}
	return nil
}
