package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// memory is in bytes of proportional set size: what several processes share is
// divided among them.
type memory struct{ platform, functions uint64 }

// memoryOf adds up a platform and all processes below it. The platform may be
// several processes: those that run the same program.
func memoryOf(pid int) (memory, error) {
	platform, functions, err := processesOf(pid)
	if err != nil {
		return memory{}, err
	}
	var m memory
	if m.platform, err = total(platform, proportionalSetSize); err != nil {
		return m, err
	}
	m.functions, err = total(functions, proportionalSetSize)
	return m, err
}

// total adds up sizes of processes; one that has ended has none.
func total(pids []int, of func(pid int) (uint64, error)) (sum uint64, err error) {
	for _, pid := range pids {
		size, err := of(pid)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
			return 0, err
		}
		sum += size
	}
	return sum, nil
}

func proportionalSetSize(pid int) (uint64, error) { return kilobytes(pid, "smaps_rollup", "Pss:") }

func residentSetSize(pid int) (uint64, error) { return kilobytes(pid, "status", "VmRSS:") }

// kilobytes reads a line of one of the kernel's files on a process, and
// returns bytes.
func kilobytes(pid int, file, name string) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/%s", pid, file)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, name); found {
			n, err := strconv.ParseUint(strings.Fields(value)[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no line for %s", path, strings.TrimSuffix(name, ":"))
}

// memoryWatch follows the resident memory of a platform.
type memoryWatch struct {
	pids         []int
	before, most uint64
	cancel       context.CancelFunc
	finished     sync.WaitGroup
}

func watchMemory(ctx context.Context, platform int) (w *memoryWatch, err error) {
	w = &memoryWatch{}
	// Once, for looking through all processes takes time from what is measured.
	if w.pids, _, err = processesOf(platform); err != nil {
		return nil, err
	}
	if err := w.look(); err != nil {
		return nil, err
	}
	w.before = w.most
	ctx, w.cancel = context.WithCancel(ctx)
	w.finished.Go(func() {
		for pause(ctx, 20*time.Millisecond) == nil && w.look() == nil {
		}
	})
	return w, nil
}

func (w *memoryWatch) look() error {
	now, err := total(w.pids, residentSetSize)
	w.most = max(w.most, now)
	return err
}

// stop returns by how much the memory had grown when it was most.
func (w *memoryWatch) stop() (grown uint64, err error) {
	w.cancel()
	w.finished.Wait()
	err = w.look()
	return w.most - w.before, err
}
