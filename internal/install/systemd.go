package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"lofn"
)

// state is what systemd says of the service.
type state struct {
	// load is "loaded" or "not-found", among others; active is "active",
	// "reloading", "activating", "inactive" or "failed".
	load, active, enabled string
	// status is what the service last said of itself.
	status string
	// pid is that of the main process, 0 if there is none.
	pid int
}

func (s state) runs() bool { return s.active == "active" || s.active == "reloading" }

// systemctl runs the program of that name. An error has what it wrote.
func systemctl(ctx context.Context, arguments ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "systemctl", arguments...).CombinedOutput()
	if err == nil {
		return string(out), nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return "", fmt.Errorf("systemctl %s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(string(out)))
}

// look asks systemd for the service's state.
func look(ctx context.Context) (s state, err error) {
	out, err := systemctl(ctx, "show", serviceName, "--property=LoadState,ActiveState,UnitFileState,StatusText,MainPID")
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch name {
		case "LoadState":
			s.load = value
		case "ActiveState":
			s.active = value
		case "UnitFileState":
			s.enabled = value
		case "StatusText":
			s.status = value
		case "MainPID":
			s.pid, err = strconv.Atoi(value)
		}
	}
	return s, err
}

// lookEvery is the pause between looks at something that takes seconds.
const lookEvery = 100 * time.Millisecond

// upgradeTime is more than what lofn itself gives an upgrade.
const upgradeTime = 6 * time.Minute

// upgrade has the service take up the program at path, and returns when it
// has.
func upgrade(ctx context.Context, path string) error {
	before, err := look(ctx)
	if err != nil {
		return err
	}
	if _, err := systemctl(ctx, "reload", serviceName); err != nil {
		return err
	}
	return wait(ctx, upgradeTime, func() error {
		now, err := look(ctx)
		switch {
		case err != nil:
			return err
		case !now.runs():
			return errors.Join(fmt.Errorf("the service is %s", now.active), journal(ctx))
		case runsProgram(now.pid, path):
			return nil
		case strings.HasPrefix(now.status, lofn.StatusUpgradeFailed) && now.status != before.status:
			return errors.Join(errors.New(now.status+"; the version before goes on"), journal(ctx))
		}
		return errNotYet
	})
}

// runsProgram reports whether a process is one of the very file at path.
func runsProgram(pid int, path string) bool {
	runs, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false
	}
	installed, err := os.Stat(path)
	return err == nil && os.SameFile(runs, installed)
}

// errNotYet is the answer to a look at what takes its time.
var errNotYet = errors.New("it has not happened yet")

// wait looks again and again, until there is an answer.
func wait(ctx context.Context, most time.Duration, look func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("it did not happen within %s", most))
	defer cancel()
	for {
		if err := look(); !errors.Is(err, errNotYet) {
			return err
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// journal is an error with the last that the service wrote.
func journal(ctx context.Context) error {
	// A process that has just died may have written what is still on its way.
	_ = exec.CommandContext(ctx, "journalctl", "--sync").Run()
	out, err := exec.CommandContext(ctx, "journalctl", "--unit", serviceName, "--lines=12", "--no-pager", "--output=cat").Output()
	if err != nil || len(out) == 0 {
		return errors.New("journalctl -u lofn has more")
	}
	return fmt.Errorf("the last lines of journalctl -u lofn:\n%s", strings.TrimRight(string(out), "\n"))
}
