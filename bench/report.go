package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// describeMachine says what the numbers were measured on, and how much of it
// others used in the second before.
func describeMachine(ctx context.Context, p *platform) error {
	release := "unknown"
	if info, err := p.Info(ctx); err == nil {
		release = info.Version.Release
	}
	fmt.Printf("lofn %s on %s, %d cores, %s/%s. The load generator shares the machine.\n", release, processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	if before, err := processorTime(); err == nil {
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		if after, err := processorTime(); err == nil {
			fmt.Printf("Before it began, other work took %.0f %% of it.\n", 100*after.since(before))
		}
	}
	fmt.Printf("`lofn serve` answered %d ms after it was started, with an empty data folder.\n\n", p.startup.Milliseconds())
	return nil
}

func processor() string {
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return "unknown processor"
}

// ticks are what the kernel counts of all processors' time.
type ticks struct{ all, idle uint64 }

// since returns which part of the time since then was not idle.
func (t ticks) since(then ticks) float64 {
	if t.all == then.all {
		return 0
	}
	return 1 - float64(t.idle-then.idle)/float64(t.all-then.all)
}

func processorTime() (t ticks, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t, err
	}
	// The first line is of all processors: user, nice, system, idle, iowait and
	// others; what guests take is in user too.
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	for i := 1; i < min(len(fields), 9); i++ {
		n, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return t, fmt.Errorf("/proc/stat: %w", err)
		}
		t.all += n
		if i == 4 || i == 5 {
			t.idle += n
		}
	}
	return t, nil
}

// heading begins a section of the report.
func heading(title, format string, args ...any) {
	fmt.Printf("### %s\n\n%s\n\n", title, fmt.Sprintf(format, args...))
}

// table prints rows, the first of which is the head: of its columns all but
// the first so many hold numbers.
func table(texts int, rows [][]string) {
	for i, row := range rows {
		fmt.Printf("| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Println(strings.Repeat("|---", texts) + strings.Repeat("|---:", len(row)-texts) + "|")
		}
	}
	fmt.Println()
}

func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func micro(d time.Duration) string { return fmt.Sprintf("%d µs", d.Microseconds()) }

func milli(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

func mebibytes(bytes float64) string { return fmt.Sprintf("%.2f MiB", bytes/(1<<20)) }
