package containerd

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// reap ends the shims of lost containers, by ID. Containerd loses sight of one
// if the request by which a container is made or removed breaks off in the
// middle, as it does when the process that sent it is killed; then nobody but
// the process table knows of it. The containers must have been razed.
func (d *daemon) reap(lost func(id string) bool) error {
	entries, err := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, notOne := strconv.Atoi(e.Name()); notOne == nil {
			err = errors.Join(err, d.reapOne(pid, lost))
		}
	}
	return err
}

func (d *daemon) reapOne(pid int, lost func(id string) bool) error {
	if namespace, id := shim(pid); namespace != d.namespace || !lost(id) {
		return nil
	}
	p, err := openProcess(pid)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.close()
	// The number is still that of the shim.
	if namespace, id := shim(pid); namespace == d.namespace && lost(id) {
		p.signal(unix.SIGKILL)
	}
	return nil
}

// shimName begins the names of the programs that containerd has for runc.
const shimName = "containerd-shim-runc-"

// shim returns of which container a process is the shim, as its command line
// says, and of which namespace that is; nothing if it is none.
func shim(pid int) (namespace, id string) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return "", ""
	}
	words := strings.Split(string(text), "\x00")
	if !strings.HasPrefix(filepath.Base(words[0]), shimName) {
		return "", ""
	}
	after := func(flag string) string {
		if i := slices.Index(words, flag); i >= 0 && i+1 < len(words) {
			return words[i+1]
		}
		return ""
	}
	return after("-namespace"), after("-id")
}
