package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

func describeMachine(p *platform) {
	model := "unknown processor"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	release := "unknown"
	if info, err := p.Info(context.Background()); err == nil {
		release = info.Version.Release
	}
	fmt.Printf("lofn %s on %s, %d cores, %s/%s. The load generator shares the machine.\n\n", release, model, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
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

// median returns the middle of the values, of two the upper.
func median[T any](values []T, compare func(a, b T) int) T {
	sorted := slices.Clone(values)
	slices.SortFunc(sorted, compare)
	return sorted[len(sorted)/2]
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
