package main

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// endWithParent has the kernel end the process if the watchdog is killed.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// reapInterval is how often zombies are looked for, if any process ended.
const reapInterval = time.Second

// reap waits for the processes that the kernel hands over to process 1, since
// those who started them have ended: otherwise their numbers would stay taken.
// It leaves alone what the watchdog waits for itself, which is gone within one
// interval; a zombie that is there at two looks is nobody's.
func reap() {
	if os.Getpid() != 1 {
		return
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	seen := map[zombie]bool{}
	for range ended {
		for again := true; again; again = len(seen) > 0 {
			time.Sleep(reapInterval)
			seen = look(seen)
		}
	}
}

// zombie is a process that has ended; the start time tells it from another
// with the same number.
type zombie struct {
	pid   int
	start string
}

// look reaps the zombies that were seen before, and returns the others.
func look(before map[zombie]bool) map[zombie]bool {
	now := map[zombie]bool{}
	for _, z := range zombies() {
		if before[z] {
			_, _ = syscall.Wait4(z.pid, nil, syscall.WNOHANG, nil)
		} else {
			now[z] = true
		}
	}
	return now
}

// zombies returns this process's children that have ended.
func zombies() []zombie {
	var found []zombie
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// The name, in brackets, may hold anything.
		text := string(b)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		const state, parent, start = 0, 1, 19
		if len(fields) > start && fields[state] == "Z" && fields[parent] == strconv.Itoa(os.Getpid()) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			found = append(found, zombie{pid, fields[start]})
		}
	}
	return found
}
