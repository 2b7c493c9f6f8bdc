package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Removal is what an uninstallation is asked for.
type Removal struct {
	Place
	// Data is the service's data folder, an absolute path.
	Data string
	// Clear, if not nil, removes what the platform with this data left on the
	// machine that does not end with its process: containers, for one. It is
	// called when the service has stopped, and not below another root.
	Clear func(ctx context.Context) error
	// Purge asks to remove the data and the settings too.
	Purge bool
}

// NewUninstall looks at the machine and returns what is to be done; a plan
// without steps means that nothing is installed. Steps that were done are not
// taken back when a later one fails: the next uninstallation goes on from there.
func NewUninstall(ctx context.Context, r Removal) (_ *Plan, err error) {
	u := &uninstallation{Removal: r, plan: &Plan{release: func() {}}}
	if err := r.Place.check(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			u.plan.Close()
		}
	}()
	if u.was, err = u.plan.open(ctx, r.Place); err != nil {
		return nil, err
	}
	return u.plan, u.steps()
}

// uninstallation is a plan in the making.
type uninstallation struct {
	Removal
	was  state
	plan *Plan
}

func (u *uninstallation) add(what string, do func(context.Context) error) {
	u.plan.steps = append(u.plan.steps, step{what: what, do: do})
}

func (u *uninstallation) steps() error {
	unit := u.under(unitPath)
	program, err := u.installed(unit)
	if err != nil {
		return err
	}
	traces := u.was.load == "loaded" || u.was.runs() || isThere(unit) || isThere(program)
	if u.was.load == "loaded" || u.was.runs() {
		u.add("run systemctl disable --now lofn, and wait until it has stopped", u.stop)
	}
	if traces && u.isMachine() && u.Clear != nil {
		u.add("remove what its containers left on the machine", u.Clear)
	}
	if isThere(unit) {
		u.addUnit(unit)
	}
	if isThere(program) {
		u.add("remove "+program, removeFile(program))
	}
	u.addLeft(program, unit, u.under(settingsPath))
	if u.Purge {
		return u.addPurge()
	}
	u.noteKept()
	return nil
}

// installed is the program that is to go: the one that the unit runs, or else
// the one below the prefix.
func (u *uninstallation) installed(unit string) (path string, err error) {
	path = u.Place.program()
	text, err := os.ReadFile(unit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if runs := programOf(string(text)); filepath.Base(runs) == "lofn" && filepath.IsAbs(runs) {
		path = runs
	}
	path = u.under(path)
	return path, checkProgram(path)
}

func (u *uninstallation) stop(ctx context.Context) error {
	if u.was.load != "loaded" { // the unit is gone, and what it started is not
		return run("stop", serviceName)(ctx)
	}
	if err := run("disable", "--now", serviceName)(ctx); err != nil {
		return err
	}
	_ = run("reset-failed", serviceName)(ctx) // it need not have failed
	return nil
}

func (u *uninstallation) addUnit(path string) {
	if !u.isMachine() {
		u.add("remove "+path, removeFile(path))
		return
	}
	u.add("remove "+path+", and run systemctl daemon-reload", both(removeFile(path), run("daemon-reload")))
}

// addLeft adds what an installation that was killed left beside its files.
func (u *uninstallation) addLeft(paths ...string) {
	for _, path := range paths {
		f := &file{path: path}
		for _, left := range []string{f.next(), f.previous()} {
			if isThere(left) {
				u.add("remove "+left, removeFile(left))
			}
		}
	}
}

func (u *uninstallation) addPurge() error {
	data := u.under(u.Data)
	if isThere(data) {
		if err := checkIsData(data); err != nil {
			return err
		}
		u.add("remove "+data+" with all functions, secrets, images, calls and logs", func(context.Context) error { return removeData(data) })
	}
	// Drop-ins are settings, too.
	for _, path := range []string{u.under(filepath.Dir(settingsPath)), u.under(unitPath + ".d")} {
		if isThere(path) {
			u.add("remove "+path, func(context.Context) error { return os.RemoveAll(path) })
		}
	}
	return nil
}

// noteKept says what stays, if anything does.
func (u *uninstallation) noteKept() {
	var kept []string
	for _, path := range []string{u.under(u.Data), u.under(settingsPath), u.under(unitPath + ".d")} {
		if isThere(path) {
			kept = append(kept, path)
		}
	}
	if len(kept) == 0 {
		return
	}
	u.plan.Notes = append(u.plan.Notes, "kept: "+strings.Join(kept, ", ")+"; a later install goes on with it, and lofn uninstall --purge removes it")
}

// checkIsData looks whether a folder is a platform's data.
func checkIsData(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, name := range []string{"secrets", "jetstream"} {
		if len(entries) > 0 && !isThere(filepath.Join(path, name)) {
			return fmt.Errorf("%s has no folder %s, so it is not the data of a platform, and --purge will not remove it: remove it by hand if it is to go", path, name)
		}
	}
	return nil
}

// removeData removes the folder of a platform that has stopped.
func removeData(path string) error {
	if mounts := mountsBelow(path); len(mounts) > 0 {
		return fmt.Errorf("file systems are mounted in it, which would be emptied with it: unmount them first: %s", strings.Join(mounts, ", "))
	}
	if isLocked(filepath.Join(path, "lock")) {
		return errors.New("a lofn that is not the service uses it: stop that one first")
	}
	return os.RemoveAll(path)
}

// mountsBelow are the mount points in a folder.
func mountsBelow(path string) (points []string) {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], path+"/") {
			points = append(points, fields[4])
		}
	}
	return points
}

func removeFile(path string) func(context.Context) error {
	return func(context.Context) error {
		if err := os.Remove(path); err != nil {
			return err
		}
		return syncFolder(filepath.Dir(path))
	}
}
