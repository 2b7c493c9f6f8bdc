package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Group is the control group of one container. It holds nothing open, and its
// methods are safe for concurrent use.
type Group struct {
	// dir is that of version 2, if it is in use; memory and cpu are those of the
	// controllers of version 1, "" where there is none.
	dir, memory, cpu string
}

// Usage is what a container has used. What the kernel does not count here is 0.
type Usage struct {
	// CPU is the processor time since it started.
	CPU time.Duration
	// Memory is in bytes, without the files that were read and not used since,
	// which the kernel gives up first: what Kubernetes calls the working set.
	Memory int64
	// OOMKills is how many of its processes the kernel has ended for want of
	// memory.
	OOMKills int
}

// Group is the container's group, whether it is there yet or not.
func (h *Hierarchy) Group(id string) *Group {
	below := func(dir string) string {
		if dir == "" {
			return ""
		}
		return filepath.Join(dir, id)
	}
	return &Group{dir: below(h.unified), memory: below(h.legacy["memory"]), cpu: below(h.legacy["cpuacct"])}
}

// Read returns the usage. It can be read also after all processes have ended, for
// as long as the group is there; after that the error is fs.ErrNotExist.
func (g *Group) Read() (Usage, error) {
	read := g.readLegacy
	if g.dir != "" {
		read = g.readUnified
	}
	u, err := read()
	if err != nil {
		return Usage{}, fmt.Errorf("usage of a container: %w", err)
	}
	return u, nil
}

func (g *Group) readUnified() (Usage, error) {
	r := reader{dir: g.dir}
	u := Usage{
		CPU:      time.Duration(r.field("cpu.stat", "usage_usec")) * time.Microsecond,
		Memory:   max(0, r.field("memory.current", "")-r.field("memory.stat", "inactive_file")),
		OOMKills: int(r.field("memory.events", "oom_kill")),
	}
	return u, r.end()
}

func (g *Group) readLegacy() (Usage, error) {
	cpu, memory := reader{dir: g.cpu}, reader{dir: g.memory}
	u := Usage{
		CPU:      time.Duration(cpu.field("cpuacct.usage", "")),
		Memory:   max(0, memory.field("memory.usage_in_bytes", "")-memory.field("memory.stat", "total_inactive_file")),
		OOMKills: int(memory.field("memory.oom_control", "oom_kill")),
	}
	return u, errors.Join(cpu.end(), memory.end())
}

// reader reads numbers from the files of a folder. Its first error stays.
type reader struct {
	dir string
	err error
}

// field returns the number after the name, in a file of "name number" lines, or
// the only one if the name is empty. A file or a name that is not there is 0.
func (r *reader) field(file, name string) int64 {
	if r.dir == "" || r.err != nil {
		return 0
	}
	content, err := os.ReadFile(filepath.Join(r.dir, file))
	if err != nil {
		// A group that goes away while its file is open is ENODEV.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			r.err = err
		}
		return 0
	}
	for line := range strings.Lines(string(content)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			key, value = "", key
		}
		if key == name {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				r.err = fmt.Errorf("%s: %w", filepath.Join(r.dir, file), err)
			}
			return n
		}
	}
	return 0
}

// end returns the error. If the folder is not there any more, what was read of it
// counts for nothing.
func (r *reader) end() error {
	if r.dir == "" || r.err != nil {
		return r.err
	}
	_, err := os.Stat(r.dir)
	return err
}
