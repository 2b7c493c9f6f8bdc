package process

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hierarchies are the cgroup file systems that are mounted, by controller, and
// where this process is in each. The unified one is under "".
type hierarchies struct {
	mounts map[string]mountPoint
	paths  map[string]string
}

type mountPoint struct{ root, at string }

func readHierarchies() hierarchies {
	h := hierarchies{mounts: make(map[string]mountPoint), paths: make(map[string]string)}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		h.addMount(line)
	}
	paths, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(paths)) {
		if parts := strings.SplitN(strings.TrimSpace(line), ":", 3); len(parts) == 3 {
			for controller := range strings.SplitSeq(parts[1], ",") {
				h.paths[controller] = parts[2]
			}
		}
	}
	return h
}

// addMount reads a line of mountinfo (proc_pid_mountinfo(5)).
func (h hierarchies) addMount(line string) {
	left, right, ok := strings.Cut(line, " - ")
	fields, kind := strings.Fields(left), strings.Fields(right)
	if !ok || len(fields) < 5 || len(kind) < 3 {
		return
	}
	at := mountPoint{root: fields[3], at: fields[4]}
	switch kind[0] {
	case "cgroup2":
		h.mounts[""] = at
	case "cgroup":
		for controller := range strings.SplitSeq(kind[2], ",") {
			h.mounts[controller] = at
		}
	}
}

// own returns the folder of this process's group, or "" if it is not to be
// found.
func (h hierarchies) own(controller string) string {
	m, mounted := h.mounts[controller]
	path, member := h.paths[controller]
	if !mounted || !member {
		return ""
	}
	below, err := filepath.Rel(m.root, path)
	if err != nil || strings.HasPrefix(below, "..") {
		return m.at // a container that sees only its own group, as the root
	}
	return filepath.Join(m.at, below)
}

// unified returns the folder in the unified hierarchy in which groups can be
// made with limits, or "".
func (h hierarchies) unified(folder string) string {
	own := h.own("")
	if own == "" {
		return ""
	}
	if parent, name := filepath.Split(own); name == leafName && delegated(filepath.Clean(parent)) {
		own = filepath.Clean(parent) // the platform before this one divided it
	}
	if delegated(own) && enable(own) == nil {
		if dir, err := divide(own, folder); err == nil {
			return dir
		}
	}
	if os.Geteuid() != 0 {
		return ""
	}
	// Not ours to divide: other processes of the session may be in it. The
	// superuser has the root for that.
	if dir, err := divide(h.mounts[""].at, folder); err == nil {
		return dir
	}
	return ""
}

// divide makes a group whose children have limits.
func divide(parent, folder string) (string, error) {
	dir := filepath.Join(parent, folder)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	if err := subtree(dir); err != nil {
		_ = unix.Rmdir(dir)
		return "", err
	}
	return dir, nil
}

// subtree lets the children of a group have limits.
func subtree(dir string) error {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	controllers := strings.Fields(string(have))
	if !slices.Contains(controllers, "memory") || !slices.Contains(controllers, "cpu") {
		return errors.New("the group has no controllers for memory and CPU")
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory +cpu"), 0)
}

// delegated reports whether a service manager gave the group to this process
// to divide: systemd marks it for root, and makes other users its owner.
func delegated(dir string) bool {
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		var value [8]byte
		if n, err := unix.Getxattr(dir, name, value[:]); err == nil && bytes.Equal(value[:n], []byte("1")) {
			return true
		}
	}
	if parent, _ := outside("uid", 0); os.Geteuid() == 0 && parent == 0 {
		return false
	}
	var info unix.Stat_t
	return unix.Stat(dir, &info) == nil && int(info.Uid) == os.Geteuid()
}

// leafName is the group of the platform's own processes.
const leafName = "platform"

// enable divides the platform's own group: its processes move into a child,
// since a group with processes cannot have children with limits.
func enable(own string) error {
	leaf := filepath.Join(own, leafName)
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	procs, err := os.ReadFile(filepath.Join(own, "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, pid := range strings.Fields(string(procs)) {
		if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte(pid), 0); err != nil {
			return err
		}
	}
	if err := subtree(own); err != nil {
		_ = os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
		_ = unix.Rmdir(leaf)
		return err
	}
	return nil
}
