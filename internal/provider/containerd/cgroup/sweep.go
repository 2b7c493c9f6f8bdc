package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Keep ends what runs in the groups of all containers that keep does not want,
// and removes the groups. Who made them is to have given them up.
func (h *Hierarchy) Keep(ctx context.Context, keep func(id string) bool) error {
	var err error
	seen := make(map[string]bool)
	for _, dir := range h.all {
		entries, failed := os.ReadDir(dir)
		if failed != nil && !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, failed)
		}
		for _, e := range entries {
			if id := e.Name(); e.IsDir() && !seen[id] {
				if seen[id] = true; !keep(id) {
					err = errors.Join(err, h.remove(ctx, id))
				}
			}
		}
	}
	return err
}

// Remove is Keep of none, and removes the parent, too.
func (h *Hierarchy) Remove(ctx context.Context) error {
	err := h.Keep(ctx, func(string) bool { return false })
	for _, dir := range h.all {
		if failed := os.Remove(dir); failed != nil && !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// again is how often it is looked whether what was killed has ended.
const again = 10 * time.Millisecond

// remove ends the processes of a container, in whatever hierarchy they are in a
// group of it, and removes the groups.
func (h *Hierarchy) remove(ctx context.Context, id string) error {
	often := time.NewTicker(again)
	defer often.Stop()
	for {
		left, err := h.removeOnce(id)
		if !left || err != nil {
			return err
		}
		select {
		case <-often.C:
		case <-ctx.Done():
			return fmt.Errorf("control group %s: its processes do not end: %w", h.Path(id), context.Cause(ctx))
		}
	}
}

// removeOnce tells whether there is something left.
func (h *Hierarchy) removeOnce(id string) (left bool, err error) {
	for _, parent := range h.all {
		groups := tree(filepath.Join(parent, id))
		for _, group := range groups {
			err = errors.Join(err, kill(group))
		}
		// Those inside come first.
		for _, group := range slices.Backward(groups) {
			switch failed := unix.Rmdir(group); {
			case errors.Is(failed, unix.EBUSY), errors.Is(failed, unix.ENOTEMPTY):
				left = true
			case failed != nil && !errors.Is(failed, unix.ENOENT):
				err = errors.Join(err, fmt.Errorf("control group %s: %w", group, failed))
			}
		}
	}
	return left, err
}

// tree returns a folder and all below it.
func tree(dir string) (all []string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all = append(all, path)
		}
		return nil // what is gone needs no visit
	})
	return all
}

// kill ends the processes of a group. Where the kernel does not do that itself,
// they are kept from starting others meanwhile. In version 1 what is frozen is not
// ended before it is thawed, in version 2 it is.
func kill(group string) error {
	if set(group, "cgroup.kill", "1") {
		return nil
	}
	pids, err := processes(group)
	if len(pids) == 0 {
		return err
	}
	set(group, "freezer.state", "FROZEN")
	set(group, "cgroup.freeze", "1")
	pids, err = processes(group)
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	set(group, "freezer.state", "THAWED")
	set(group, "cgroup.freeze", "0")
	return err
}

// processes lists those of a group, none if it is gone.
func processes(group string) (pids []int, err error) {
	content, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	for _, field := range strings.Fields(string(content)) {
		// 0 stands for one in another namespace of processes.
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

// set writes to one of a group's files, if there is such a file.
func set(group, file, value string) bool {
	f, err := os.OpenFile(filepath.Join(group, file), os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err == nil
}
