package sandbox

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// CgroupParent is where the control groups of the program are to be. Several
// sandboxes may be there at once, each with a parent of its own.
func CgroupParent() string { return "/lofn-test-" + os.Getenv(envRun) }

// traces lists what a program could leave behind: mounts, network interfaces,
// control groups and processes.
func traces() ([]string, error) {
	var all []string
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			all = append(all, "mount "+fields[4])
		}
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range interfaces {
		all = append(all, "interface "+i.Name)
	}
	groups, err := cgroups()
	if err != nil {
		return nil, err
	}
	all = append(all, groups...)
	processes, err := processes()
	return append(all, processes...), err
}

// cgroups lists those below CgroupParent in every hierarchy.
func cgroups() ([]string, error) {
	roots, err := filepath.Glob("/sys/fs/cgroup/*" + CgroupParent())
	if err != nil {
		return nil, err
	}
	var all []string
	for _, root := range append(roots, "/sys/fs/cgroup"+CgroupParent()) {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && path != root {
				all = append(all, "control group "+path)
			}
			return nil
		})
	}
	return all, nil
}

func processes() ([]string, error) {
	entries, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, entry := range entries {
		stat, err := os.ReadFile(entry)
		if err != nil {
			continue // it has just ended
		}
		pid, rest, _ := strings.Cut(string(stat), " ")
		name, state, _ := strings.Cut(rest, ") ")
		if pid != "1" && !strings.HasPrefix(state, "Z") {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(entry), "cmdline"))
			all = append(all, "process "+pid+" "+strings.TrimPrefix(name, "(")+": "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return all, nil
}

// patience is how long what ends by itself, such as a shim without containers,
// has to do so.
const patience = 10 * time.Second

// remains lists what is there and was not before.
func remains(before []string) ([]string, error) {
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); ; <-look.C {
		now, err := traces()
		if err != nil {
			return nil, err
		}
		left := slices.DeleteFunc(now, func(trace string) bool { return slices.Contains(before, trace) })
		if len(left) == 0 {
			// Processes leave their group a little after they have ended.
			if err = removeParents(); err == nil {
				return nil, nil
			}
		}
		if time.Now().After(deadline) {
			return left, err
		}
	}
}

// removeParents removes the groups that held those of the program.
func removeParents() error {
	roots, err := filepath.Glob("/sys/fs/cgroup/*" + CgroupParent())
	for _, root := range append(roots, "/sys/fs/cgroup"+CgroupParent()) {
		if e := os.Remove(root); e != nil && !os.IsNotExist(e) {
			err = e
		}
	}
	return err
}
