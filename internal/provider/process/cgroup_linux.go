package process

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups is where the platform may make control groups: one folder of the
// unified hierarchy (version 2), or one for each controller of version 1.
type cgroups struct {
	unified string
	memory  string
	cpu     string
	// home are the tasks files of the platform's own groups in version 1, to
	// which a thread returns.
	home map[string]string
}

// newCgroups returns what this machine lets the platform use, and removes what
// an earlier platform with the same name left there.
func newCgroups(name string) *cgroups {
	hash := fnv.New32a()
	hash.Write([]byte(name))
	folder := fmt.Sprintf("lofn-%08x", hash.Sum32())
	table := readHierarchies()
	c := &cgroups{home: make(map[string]string)}
	if c.unified = table.unified(folder); c.unified == "" {
		c.memory = c.legacy(table, "memory", folder)
		c.cpu = c.legacy(table, "cpu", folder)
	}
	// The folders themselves are made anew for the first replica with limits:
	// a platform that is killed before leaves nothing.
	c.close()
	return c
}

// legacy makes the folder in a controller of version 1.
func (c *cgroups) legacy(t hierarchies, controller, folder string) string {
	own := t.own(controller)
	if own == "" {
		return ""
	}
	dir := filepath.Join(own, folder)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return ""
	}
	c.home[dir] = filepath.Join(own, "tasks")
	return dir
}

// clearGroups ends what still runs in the groups below a folder and removes
// them.
func clearGroups(dir string) {
	if dir == "" {
		return
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeGroup(filepath.Join(dir, e.Name()))
		}
	}
}

func removeGroup(dir string) {
	pause := time.Millisecond
	for range 10 {
		err := unix.Rmdir(dir)
		if !errors.Is(err, unix.EBUSY) {
			return
		}
		procs, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for _, pid := range strings.Fields(string(procs)) {
			if n, err := strconv.Atoi(pid); err == nil && n > 0 {
				_ = syscall.Kill(n, syscall.SIGKILL)
			}
		}
		time.Sleep(pause)
		pause *= 2
	}
}

// close ends what still runs in the groups and removes them.
func (c *cgroups) close() {
	for _, dir := range []string{c.unified, c.memory, c.cpu} {
		if dir != "" {
			clearGroups(dir)
			_ = unix.Rmdir(dir)
		}
	}
}

// lacking names the limits that cannot be enforced here.
func (c *cgroups) lacking(memory, milliCPU int64) string {
	var names []string
	if memory > 0 && c.unified == "" && c.memory == "" {
		names = append(names, "memory")
	}
	if milliCPU > 0 && c.unified == "" && c.cpu == "" {
		names = append(names, "CPU")
	}
	return strings.Join(names, " and ")
}

// group is the control group of one replica; nil stands for none.
type group struct {
	cgroups *cgroups
	unified *os.File
	memory  string
	cpu     string
	// tasks and home are the open tasks files of the groups of version 1 and
	// of the platform's own. They are written to from a function's view, in
	// which the folders may be read-only.
	tasks, home []*os.File
}

// make returns a group with the limits, of which 0 means none, or nil where
// there is nothing to limit.
func (c *cgroups) make(id string, memory, milliCPU int64) (*group, error) {
	g := &group{cgroups: c}
	var err error
	if c.unified != "" && (memory > 0 || milliCPU > 0) {
		if _, err = divide(filepath.Split(c.unified)); err == nil {
			err = g.makeUnified(filepath.Join(c.unified, id), memory, milliCPU)
		}
	}
	if c.memory != "" && memory > 0 {
		g.memory = filepath.Join(c.memory, id)
	}
	if c.cpu != "" && milliCPU > 0 {
		g.cpu = filepath.Join(c.cpu, id)
	}
	err = errors.Join(err, g.makeLegacy(memory, milliCPU), g.openTasks())
	if err != nil {
		g.remove()
		return nil, err
	}
	if g.unified == nil && g.memory == "" && g.cpu == "" {
		return nil, nil
	}
	return g, nil
}

// set changes the limits of a group that has such limits.
func (g *group) set(memory, milliCPU int64) error {
	switch {
	case g == nil:
		return nil
	case g.unified != nil:
		return makeGroup(g.unified.Name(), unifiedSettings(memory, milliCPU)...)
	}
	return g.makeLegacy(memory, milliCPU)
}

// makeLegacy makes the groups of version 1 that have a name.
func (g *group) makeLegacy(memory, milliCPU int64) (err error) {
	if g.memory != "" {
		err = makeGroup(g.memory, setting{"memory.limit_in_bytes", memory}, setting{"?memory.memsw.limit_in_bytes", memory})
	}
	if g.cpu != "" {
		err = errors.Join(err, makeGroup(g.cpu, setting{"cpu.cfs_period_us", cpuPeriod}, setting{"cpu.cfs_quota_us", quota(milliCPU)}))
	}
	return err
}

func (g *group) openTasks() error {
	for _, dir := range []string{g.memory, g.cpu} {
		if dir == "" {
			continue
		}
		tasks, err := os.OpenFile(filepath.Join(dir, "tasks"), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		g.tasks = append(g.tasks, tasks)
		home, err := os.OpenFile(g.cgroups.home[filepath.Dir(dir)], os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		g.home = append(g.home, home)
	}
	return nil
}

// joinAll makes the current thread a member of the groups.
func joinAll(tasks []*os.File) error {
	var err error
	for _, file := range tasks {
		_, failed := file.WriteAt([]byte("0"), 0)
		err = errors.Join(err, failed)
	}
	return err
}

func (g *group) makeUnified(dir string, memory, milliCPU int64) error {
	if err := makeGroup(dir, unifiedSettings(memory, milliCPU)...); err != nil {
		return err
	}
	var err error
	g.unified, err = os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	return err
}

func unifiedSettings(memory, milliCPU int64) (settings []setting) {
	if memory > 0 {
		settings = append(settings, setting{"memory.max", memory}, setting{"?memory.swap.max", 0}, setting{"?memory.oom.group", 1})
	}
	if milliCPU > 0 {
		settings = append(settings, setting{"cpu.max", fmt.Sprint(quota(milliCPU), cpuPeriod)})
	}
	return settings
}

// cpuPeriod is in microseconds.
const cpuPeriod = 100_000

// quota is the CPU time for each period; the kernel takes no less than 1 ms.
func quota(milliCPU int64) int64 { return max(milliCPU*cpuPeriod/1000, 1000) }

// setting is a file of a control group and its value. A file whose name starts
// with '?' need not exist.
type setting struct {
	file  string
	value any
}

func makeGroup(dir string, settings ...setting) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, s := range settings {
		name, optional := strings.CutPrefix(s.file, "?")
		err := os.WriteFile(filepath.Join(dir, name), []byte(fmt.Sprint(s.value)), 0)
		if err != nil && !optional {
			return err
		}
	}
	return nil
}

// enter makes processes that the current thread starts members of the group,
// until leave. In version 2 the attributes do it instead.
func (g *group) enter(sys *syscall.SysProcAttr) (leave func() error, err error) {
	stay := func() error { return nil }
	if g == nil {
		return stay, nil
	}
	if g.unified != nil {
		sys.UseCgroupFD, sys.CgroupFD = true, int(g.unified.Fd())
		return stay, nil
	}
	leave = func() error { return joinAll(g.home) }
	if err := joinAll(g.tasks); err != nil {
		return nil, errors.Join(err, leave())
	}
	return leave, nil
}

// overran counts the processes of the group that the kernel ended for want of
// memory.
func (g *group) overran() int64 {
	switch {
	case g == nil:
	case g.unified != nil:
		return field(filepath.Join(g.unified.Name(), "memory.events"), "oom_kill")
	case g.memory != "":
		return field(filepath.Join(g.memory, "memory.oom_control"), "oom_kill")
	}
	return 0
}

// field returns the number after the name in a file of "name number" lines.
func field(file, name string) int64 {
	content, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}

func (g *group) remove() {
	if g == nil {
		return
	}
	for _, file := range append(g.tasks, g.home...) {
		file.Close()
	}
	if g.unified != nil {
		dir := g.unified.Name()
		_ = g.unified.Close()
		removeGroup(dir)
	}
	for _, dir := range []string{g.memory, g.cpu} {
		if dir != "" {
			removeGroup(dir)
		}
	}
}
