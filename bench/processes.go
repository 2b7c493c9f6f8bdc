package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// process is what the kernel says of one.
type process struct {
	pid, parent int
	started     uint64 // in ticks since the machine was started
	used        uint64 // of the processor, in ticks
}

// allProcesses returns those that there are; some may have ended since.
func allProcesses() ([]process, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var all []process
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // the process has ended
		}
		p, err := parseStat(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", stat, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// tick is USER_HZ, the same on all architectures that Go knows.
const tick = time.Second / 100

// processorTimeOf is what a process has used itself.
func processorTimeOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	p, err := parseStat(string(text))
	return time.Duration(p.used) * tick, err
}

// parseStat reads the fields 1, 4, 14, 15 and 22 of proc_pid_stat(5). The name, in
// brackets, may hold anything.
func parseStat(text string) (p process, err error) {
	pid, _, _ := strings.Cut(text, " ")
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return p, fmt.Errorf("%q is too short", text)
	}
	if p.pid, err = strconv.Atoi(pid); err != nil {
		return p, err
	}
	if p.parent, err = strconv.Atoi(fields[1]); err != nil {
		return p, err
	}
	for _, field := range fields[11:13] {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return p, err
		}
		p.used += n
	}
	p.started, err = strconv.ParseUint(fields[19], 10, 64)
	return p, err
}

// processesOf returns pid and those below it: the ones that run the same
// program, pid first, and the others.
func processesOf(pid int) (same, others []int, err error) {
	all, err := allProcesses()
	if err != nil {
		return nil, nil, err
	}
	children := map[int][]int{}
	for _, p := range all {
		children[p.parent] = append(children[p.parent], p.pid)
	}
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return nil, nil, err
	}
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", queue[0])); err == nil && exe == program {
			same = append(same, queue[0])
		} else {
			others = append(others, queue[0])
		}
		queue = append(queue, children[queue[0]]...)
	}
	return same, others, nil
}

// servingAt returns the processes that were started as `serve` with a data
// folder, the latest last.
func servingAt(data string) ([]int, error) {
	all, err := allProcesses()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(p process) bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
		arguments := strings.Split(string(text), "\x00")
		return err != nil || len(arguments) < 2 || arguments[1] != "serve" || !slices.Contains(arguments, data)
	})
	slices.SortFunc(all, byStart)
	pids := make([]int, len(all))
	for i, p := range all {
		pids[i] = p.pid
	}
	return pids, nil
}

// pidsOf returns the processes of an instance, which tell by their environment
// what they belong to. Those that started first are first: the others are
// theirs.
func pidsOf(id string) (pids []int, err error) {
	all, err := allProcesses()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, byStart)
	for _, p := range all {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
		if err == nil && slices.Contains(strings.Split(string(environ), "\x00"), "LOFN_INSTANCE="+id) {
			pids = append(pids, p.pid)
		}
	}
	return pids, nil
}

func byStart(a, b process) int { return cmp.Or(cmp.Compare(a.started, b.started), a.pid-b.pid) }

// programOf is the name of the program that a process runs.
func programOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
