package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Options are what an installation is asked for.
type Options struct {
	Place
	// Program is the file that is installed.
	Program string
	// Settings are all there are, in the order of the file.
	Settings []Setting
	// Service is what comes of them, or of the settings that are there already.
	Service Service
	// Start is not set if the service is not to be started or upgraded now.
	Start bool
}

// installation is a plan in the making.
type installation struct {
	Options
	was  state // zero if it is not this machine that is meant
	plan *Plan
	// newProgram says that the one that is there is another.
	newProgram bool
}

// NewInstall looks at the machine and returns what is to be done. An error has
// everything that is in the way. A plan without steps means that all is done.
func NewInstall(ctx context.Context, o Options) (_ *Plan, err error) {
	i := &installation{Options: o, plan: &Plan{release: func() {}}}
	if err := o.Place.check(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			i.plan.Close()
		}
	}()
	if i.was, err = i.plan.open(ctx, o.Place); err != nil {
		return nil, err
	}
	if err := errors.Join(i.check(ctx)...); err != nil {
		return nil, err
	}
	return i.plan, i.steps()
}

// steps are what has to be done, in the order in which it takes effect.
func (i *installation) steps() error {
	i.addData()
	for _, add := range []func() error{i.addSettings, i.addProgram, i.addUnit} {
		if err := add(); err != nil {
			return err
		}
	}
	if i.isMachine() {
		i.addService()
	}
	return nil
}

func (i *installation) add(s step) { i.plan.steps = append(i.plan.steps, s) }

// put adds a file, unless it is there already.
func (i *installation) put(f *file, what string) (added bool, err error) {
	if same, err := f.equals(); err != nil || same {
		return false, err
	}
	i.add(step{what: what, do: f.put, undo: f.takeBack, settle: f.settle})
	return true, nil
}

func (i *installation) addData() {
	path := i.under(i.Service.Data)
	if _, err := os.Stat(path); err == nil {
		return
	}
	var made []string
	i.add(step{
		what: "make " + path,
		do: func(context.Context) (err error) {
			made, err = makeFolders(path, 0o700)
			return err
		},
		undo: func(context.Context) error {
			for n := len(made) - 1; n >= 0; n-- {
				if err := os.Remove(made[n]); errors.Is(err, syscall.ENOTEMPTY) {
					return errors.New("it is kept, for the service has put something there")
				}
			}
			return nil
		},
	})
}

func (i *installation) addSettings() error {
	path := i.under(settingsPath)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		// It may have the password of a NATS server, or of a proxy.
		_, err = i.put(textFile(path, 0o600, render(i.Settings)), "write "+path)
		return err
	}
	i.plan.Notes = append(i.plan.Notes, differences(i.Settings, string(text))...)
	return err
}

func (i *installation) addProgram() (err error) {
	path := i.under(i.Place.program())
	i.newProgram, err = i.put(copyOf(i.Program, path, 0o755), fmt.Sprintf("copy %s to %s", i.Program, path))
	return err
}

func (i *installation) addUnit() error {
	path := i.under(unitPath)
	have, err := os.ReadFile(path)
	if err == nil && !isUnedited(string(have)) {
		i.plan.Notes = append(i.plan.Notes, path+" is kept, for it is not as lofn install wrote it: to have the current one, rename that file and install again; systemctl edit lofn keeps changes apart")
		return nil
	}
	f := textFile(path, 0o644, unit(i.Place.program(), i.Service))
	if !i.isMachine() {
		_, err = i.put(f, "write "+path)
		return err
	}
	if same, err := f.equals(); err != nil || same {
		return err
	}
	i.add(step{
		what: "write " + path + ", and run systemctl daemon-reload",
		do:   both(f.put, run("daemon-reload")), undo: both(f.takeBack, run("daemon-reload")), settle: f.settle,
	})
	if i.was.runs() {
		i.plan.Notes = append(i.plan.Notes, "the unit is a new one: what it says of the process that runs counts from the next systemctl restart lofn")
	}
	return nil
}

// both does one thing, and then another if nothing is wrong.
func both(first, second func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := first(ctx); err != nil {
			return err
		}
		return second(ctx)
	}
}

// addService adds what systemd is to do.
func (i *installation) addService() {
	path := i.Place.program()
	switch {
	case !i.Start && i.was.enabled != "enabled":
		i.add(step{what: "run systemctl enable lofn", do: run("enable", serviceName), undo: i.disable})
	case !i.Start:
	case !i.was.runs() || i.was.enabled != "enabled":
		i.add(step{what: "run systemctl enable --now lofn, and wait until it answers", do: i.start, undo: i.disable})
	case i.newProgram || !runsProgram(i.was.pid, path):
		i.add(step{what: "run systemctl reload lofn, and wait until the new version answers", do: func(ctx context.Context) error {
			if err := upgrade(ctx, path); err != nil {
				return err
			}
			return i.Service.healthy(ctx)
		}})
	}
}

// run returns what runs systemctl.
func run(arguments ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := systemctl(ctx, arguments...)
		return err
	}
}

// startTime is more than the unit's own limit.
const startTime = 6 * time.Minute

func (i *installation) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := run("enable", "--now", serviceName)(ctx); err != nil {
		return errors.Join(err, journal(ctx))
	}
	return i.Service.healthy(ctx)
}

// disable takes back what of start was not so before. The unit is still there.
func (i *installation) disable(ctx context.Context) error {
	var errs []error
	if !i.was.runs() {
		errs = append(errs, run("stop", serviceName)(ctx))
		_ = run("reset-failed", serviceName)(ctx) // it need not have failed
	}
	if i.was.enabled != "enabled" {
		errs = append(errs, run("disable", "--quiet", serviceName)(ctx))
	}
	return errors.Join(errs...)
}
