package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memory is in bytes of proportional set size: what several processes share is
// divided among them.
type memory struct{ platform, functions uint64 }

// memoryOf adds up a platform and all processes below it.
func memoryOf(pid int) (memory, error) {
	children, err := processTree()
	if err != nil {
		return memory{}, err
	}
	var m memory
	if m.platform, err = proportionalSetSize(pid); err != nil {
		return m, err
	}
	for queue := children[pid]; len(queue) > 0; queue = queue[1:] {
		size, err := proportionalSetSize(queue[0])
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return m, err
		}
		m.functions += size
		queue = append(queue, children[queue[0]]...)
	}
	return m, nil
}

// processTree returns the children of each process.
func processTree() (map[int][]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // the process has ended
		}
		// The name, in brackets, may hold anything.
		_, rest, _ := strings.Cut(string(text[max(0, strings.LastIndexByte(string(text), ')')):]), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			continue
		}
		parent, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", stat, err)
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if err != nil {
			return nil, err
		}
		children[parent] = append(children[parent], pid)
	}
	return children, nil
}

func proportionalSetSize(pid int) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "Pss:"); found {
			kilobytes, err := strconv.ParseUint(strings.Fields(value)[0], 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no line for Pss", path)
}
