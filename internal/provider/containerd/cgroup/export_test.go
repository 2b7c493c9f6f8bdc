package cgroup

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// OpenAt is Open for a folder that is laid out like /sys/fs/cgroup.
func OpenAt(parent, root string, mounts io.Reader) (*Hierarchy, error) {
	return open(parent, root, mounts)
}

// Enter does what runc does: it makes a container's group in every hierarchy, and
// a process a member of it.
func (h *Hierarchy) Enter(id string, pid int) error {
	for _, dir := range h.all {
		if dir == h.unified {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory +cpu +pids"), 0); err != nil {
				return err
			}
		}
		group := filepath.Join(dir, id)
		if err := os.MkdirAll(group, 0o755); err != nil {
			return err
		}
		if dir == h.legacy["cpuset"] {
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				if err := inherit(filepath.Dir(dir), filepath.Base(dir), id, file); err != nil {
					return err
				}
			}
		}
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return err
		}
	}
	return nil
}

// inherit copies a setting down, which cpuset does not by itself.
func inherit(root, parent, id, file string) error {
	value, err := os.ReadFile(filepath.Join(root, file))
	if err == nil {
		err = os.WriteFile(filepath.Join(root, parent, file), value, 0)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(root, parent, id, file), value, 0)
	}
	return err
}

// Bound sets the limit of a container's memory.
func (h *Hierarchy) Bound(id string, bytes int64) error {
	file := filepath.Join(h.unified, id, "memory.max")
	if h.unified == "" {
		file = filepath.Join(h.legacy["memory"], id, "memory.limit_in_bytes")
	}
	return os.WriteFile(file, []byte(strconv.FormatInt(bytes, 10)), 0)
}

// Freeze stops all processes of a container where they are.
func (h *Hierarchy) Freeze(id string) bool {
	return set(filepath.Join(h.unified, id), "cgroup.freeze", "1") || set(filepath.Join(h.legacy["freezer"], id), "freezer.state", "FROZEN")
}
