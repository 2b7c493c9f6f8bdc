// Package cgroup reads the control groups that runc makes for containers, of
// version 1, version 2 and both at once, and removes those that are left over.
package cgroup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Hierarchy is one group of each hierarchy of this machine, below which
// containers have theirs. Its methods are safe for concurrent use.
type Hierarchy struct {
	parent string
	// all are the folders of the parent, one in each hierarchy. Limits are those
	// of version 2 if there is unified, and else by controller in legacy.
	all     []string
	unified string
	legacy  map[string]string
	// refused is why a controller of version 2 cannot be used.
	refused map[string]error
}

// systemRoot is where control groups are mounted, by agreement of all who use
// them.
const systemRoot = "/sys/fs/cgroup"

// Open makes the group with the name, such as "/lofn", and finds out what it can
// do. An error says that containers cannot have control groups at all.
func Open(parent string) (*Hierarchy, error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("control groups: %w", err)
	}
	defer mounts.Close()
	return open(parent, systemRoot, mounts)
}

func open(parent, root string, mounts io.Reader) (*Hierarchy, error) {
	if !path.IsAbs(parent) || path.Clean(parent) != parent || parent == "/" {
		return nil, fmt.Errorf("control groups: %q is no absolute name of a group: use one such as /lofn", parent)
	}
	h := &Hierarchy{parent: parent, legacy: make(map[string]string), refused: make(map[string]error)}
	found, err := mountinfo.GetMountsFromReader(mounts, mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("control groups: %w", err)
	}
	for _, mount := range found {
		if mount.Mountpoint != root && filepath.Dir(mount.Mountpoint) != root {
			continue // somebody's view of a part
		}
		h.add(mount, root)
	}
	if len(h.all) == 0 {
		return nil, fmt.Errorf("control groups: none are mounted at %s: containers need them", root)
	}
	if h.unified != "" {
		return h, h.enable(root)
	}
	return h, h.makeLegacy()
}

func (h *Hierarchy) add(mount *mountinfo.Info, root string) {
	dir := filepath.Join(mount.Mountpoint, h.parent)
	h.all = append(h.all, dir)
	switch {
	case mount.FSType == "cgroup2" && mount.Mountpoint == root:
		h.unified = dir
	case mount.FSType == "cgroup":
		for option := range strings.SplitSeq(mount.VFSOptions, ",") {
			h.legacy[option] = dir
		}
	}
}

// controllers are what limits need.
func controllers() []string { return []string{"memory", "cpu", "pids"} }

// makeLegacy makes the parent where what it can do is to be seen.
func (h *Hierarchy) makeLegacy() error {
	for _, c := range controllers() {
		if dir, ok := h.legacy[c]; ok {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("control groups: %w", err)
			}
		}
	}
	return nil
}

// enable makes the parent in version 2, and passes controllers down to it, and on
// to what will be below it. While that is so nobody else can take them away above:
// systemd does that with those that no unit of its own needs.
func (h *Hierarchy) enable(dir string) error {
	for name := range strings.SplitSeq(strings.TrimPrefix(h.parent, "/"), "/") {
		h.pass(dir)
		dir = filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("control groups: %w", err)
		}
	}
	h.pass(dir)
	return nil
}

// pass has the groups below one have its controllers. Not all of them may be
// there.
func (h *Hierarchy) pass(dir string) {
	for _, c := range controllers() {
		err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
		// What the kernel does not have is told by the absence of its files.
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
			h.refused[c] = err
		}
	}
}

// Path is a container's group as its specification names it (cgroupsPath).
func (h *Hierarchy) Path(id string) string { return path.Join(h.parent, id) }

// Limit is something that a control group can bound.
type Limit string

// The limits that functions may have.
const (
	Memory Limit = "memory"
	// Swap is that what goes to swap is bounded as well. Without it a container that
	// has reached its limit of memory goes on in swap, if the machine has any.
	Swap Limit = "swap"
	CPU  Limit = "cpu"
	Pids Limit = "pids"
)

// need is what a limit depends on.
type need struct {
	controller string
	// unified and legacy are the files that bound it.
	unified, legacy string
	// mend is what to do where it is not there.
	mend string
}

func (l Limit) need() need {
	const boot = " (on Debian: in GRUB_CMDLINE_LINUX of /etc/default/grub, then update-grub; on a Raspberry Pi: in cmdline.txt of the boot partition), and reboot"
	switch l {
	case Memory:
		return need{"memory", "memory.max", "memory.limit_in_bytes", "add cgroup_enable=memory to the kernel's command line" + boot}
	case Swap:
		return need{"memory", "memory.swap.max", "memory.memsw.limit_in_bytes", "add swapaccount=1 to the kernel's command line" + boot}
	case CPU:
		return need{"cpu", "cpu.max", "cpu.cfs_quota_us", "use a kernel with CONFIG_CFS_BANDWIDTH, and without cgroup_disable=cpu on its command line"}
	case Pids:
		return need{"pids", "pids.max", "pids.max", "use a kernel with CONFIG_CGROUP_PIDS, and without cgroup_disable=pids on its command line"}
	}
	return need{mend: "use memory, swap, cpu or pids"}
}

// Supports returns nil if the kernel enforces the limit here, and otherwise an
// error that says how to mend it.
func (h *Hierarchy) Supports(l Limit) error {
	n := l.need()
	dir, file := h.legacy[n.controller], n.legacy
	if h.unified != "" {
		dir, file = h.unified, n.unified
	}
	if dir != "" && file != "" {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			return nil
		}
	}
	if err := h.refused[n.controller]; err != nil {
		return fmt.Errorf("this machine does not limit %s: %w: %s", l, err, n.mend)
	}
	return fmt.Errorf("this machine does not limit %s: %s", l, n.mend)
}
