package process

import (
	"fmt"
	"lofn/internal/provider/fleet"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// family returns the process and all its descendants.
func family(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		for _, child := range children(all[i]) {
			if !slices.Contains(all, child) {
				all = append(all, child)
			}
		}
	}
	return all
}

// children returns the processes that a process started itself. A glob would
// have the kernel list all that it knows of each thread, which takes four times as long.
func children(pid int) (all []int) {
	tasks := fmt.Sprintf("/proc/%d/task", pid)
	folder, err := os.Open(tasks)
	if err != nil {
		return nil
	}
	defer folder.Close()
	threads, _ := folder.Readdirnames(-1)
	for _, thread := range threads {
		content, _ := os.ReadFile(tasks + "/" + thread + "/children")
		for field := range strings.FieldsSeq(string(content)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// spent returns the CPU time and the resident memory of a process.
func spent(pid int) (cpu time.Duration, memory int64) {
	// User and system time are the 14th and 15th field, those of children that
	// were waited for the next two, memory the 24th.
	fields := stat(pid)
	if len(fields) < 22 {
		return 0, 0
	}
	number := func(i int) int64 { n, _ := strconv.ParseInt(fields[i-3], 10, 64); return n }
	const ticks = 100 // USER_HZ, the same on all architectures that Go knows
	cpu = time.Duration(number(14)+number(15)+number(16)+number(17)) * (time.Second / ticks)
	return cpu, number(24) * int64(os.Getpagesize())
}

// listening reports whether one of the processes listens on the TCP port.
func listening(pids []int, port int) bool {
	inodes := listeners(port)
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			target, _ := os.Readlink(filepath.Join(dir, e.Name()))
			if slices.Contains(inodes, target) {
				return true
			}
		}
	}
	return false
}

// listeners returns the sockets that listen on the port, in the form in which
// links in /proc/PID/fd name them.
func listeners(port int) (found []string) {
	for _, s := range fleet.Listening("/proc/net") {
		if int(s.Port) == port {
			found = append(found, "socket:["+s.Inode+"]")
		}
	}
	return found
}

// sweep kills the processes of the replicas, as far as their environment tells
// which they are, and returns when they are gone: it is for machines where the
// kernel does not tie a replica's processes together.
func sweep(ids []string) {
	if len(ids) == 0 {
		return
	}
	// Killing takes effect a moment later, and what is being killed may have
	// forked meanwhile.
	for pause := time.Millisecond; pause < time.Second; pause *= 2 {
		strays, maybe := strays(ids)
		for _, pid := range strays {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(strays) == 0 && !maybe {
			return
		}
		time.Sleep(pause)
	}
}

// strays returns the processes that have the mark of one of the replicas, and
// whether there are some of which that cannot be told yet.
func strays(ids []string) (pids []int, maybe bool) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environ, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		id := variable(strings.Split(string(environ), "\x00"), envInstance)
		switch {
		case id != "" && slices.Contains(ids, id):
			pids = append(pids, pid)
		case err == nil && len(environ) == 0 && infant(pid):
			maybe = true
		}
	}
	return pids, maybe
}

// infancy is longer than it takes a process to execute its program. While it
// does, the kernel shows no environment of it.
const infancy = 10 * time.Second

// infant reports whether a process lives and has not done so for long.
func infant(pid int) bool {
	fields := stat(pid)
	if len(fields) < 20 || fields[0] == "Z" {
		return false
	}
	var system unix.Sysinfo_t
	// The 22nd field of all is when it started, in hundredths of a second.
	start, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil || unix.Sysinfo(&system) != nil {
		return false
	}
	return time.Duration(system.Uptime)*time.Second-time.Duration(start)*10*time.Millisecond < infancy
}

// stat returns the fields of a process's line in proc(5), from the third on: the
// second, in parentheses, may have anything in it.
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}
