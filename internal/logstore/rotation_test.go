package logstore_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"lofn"
	"lofn/internal/logstore"
)

func TestRotationKeepsTheNewest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, logstore.Config{Dir: dir, MaxBytes: 1 << 20})
	w := s.Writer(ref(), "i")
	const lines = 20_000
	for i := range lines {
		_, _ = fmt.Fprintf(w, "%d %0200d\n", i, 0)
	}
	if n := usage(t, dir); n > 1<<20 || n < 1<<19 {
		t.Errorf("%d bytes are kept", n)
	}
	got := query(t, s, lofn.LogQuery{})
	for i, line := range got {
		if want := fmt.Sprintf("%d ", lines-len(got)+i); !strings.HasPrefix(line.Text, want) {
			t.Fatalf("got %.30q, want %s", line.Text, want)
		}
	}
	if len(got) < 2000 {
		t.Errorf("only %d lines are kept", len(got))
	}
	expect(t, query(t, s, lofn.LogQuery{Tail: 1}), fmt.Sprintf("%d %0200d", lines-1, 0))
}

// A flood of the smallest lines, of middling and of long ones stays in bounds.
func TestFloodStaysInBounds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, logstore.Config{Dir: dir, MaxBytes: 1 << 20})
	for _, piece := range []string{strings.Repeat("\n", 32<<10), strings.Repeat(strings.Repeat("x", 999)+"\n", 32), strings.Repeat("x", 300<<10) + "\n"} {
		w := s.Writer(ref(), "i")
		for range 20 {
			_, _ = w.Write([]byte(piece))
			if n := usage(t, dir); n > 1<<20 {
				t.Fatalf("%d bytes are kept", n)
			}
		}
		_ = w.Close()
	}
	if n := len(files(t, dir, "*.line")); n != 2 {
		t.Errorf("%d long lines are kept", n)
	}
	for _, line := range query(t, s, lofn.LogQuery{}) {
		if strings.HasPrefix(line.Text, "lofn:") {
			t.Errorf("got %q", line.Text)
		}
	}
}

func TestReadersWhileItRotates(t *testing.T) {
	t.Parallel()
	s := open(t, logstore.Config{MaxBytes: 1 << 20})
	done := make(chan struct{})
	var group sync.WaitGroup
	for _, q := range []lofn.LogQuery{{}, {Tail: 10}, {Tail: 100_000}} {
		group.Go(func() {
			for {
				next := -1
				for _, line := range query(t, s, q) {
					var n int
					if _, err := fmt.Sscanf(line.Text, "lofn: %d lines are missing here", &n); err == nil {
						if next >= 0 {
							next += n
						}
						continue
					}
					if strings.HasPrefix(line.Text, "lofn: a line of ") {
						if next >= 0 {
							next++
						}
						continue
					}
					if _, err := fmt.Sscanf(line.Text, "%d", &n); err != nil || next >= 0 && n != next {
						t.Errorf("got %.80q, want %d", line.Text, next)
					}
					next = n + 1
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	w := s.Writer(ref(), "i")
	for i := range 10_000 {
		length := 300
		if i%500 == 0 {
			length = 80 << 10
		}
		_, _ = fmt.Fprintf(w, "%d %0*d\n", i, length, 0)
	}
	close(done)
	group.Wait()
}

// A line of 100 MB is kept whole in a few hundred kilobytes of memory, and so
// is the next.
func TestHugeLine(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100 MB")
	}
	s := open(t, logstore.Config{MaxBytes: 256 << 20})
	w := s.Writer(ref(), "i")
	piece := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	size := 0
	for size < 100_000_000 {
		n, err := w.Write(piece)
		if n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
		size += n
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("%d bytes were allocated for the line", used)
	}
	_, _ = w.Write([]byte("\nnext\n"))
	got := query(t, s, lofn.LogQuery{})
	if len(got) != 2 || len(got[0].Text) != size || got[1].Text != "next" {
		t.Fatalf("got %d lines, %.40q", len(got), texts(got))
	}
	if !strings.HasPrefix(got[0].Text[size-len(piece):], "0123456789abcdef01") {
		t.Error("the end of the line is not what was written")
	}
}

func TestLineLongerThanAllThatIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, logstore.Config{Dir: dir, MaxBytes: 1 << 20})
	write(t, s, "i", "before\n", strings.Repeat("x", 2<<20), "x\nafter\n")
	expect(t, query(t, s, lofn.LogQuery{}), "before",
		"lofn: a line of 2097153 bytes was not kept: at most 917504 bytes are kept for a function", "after")
	if left := files(t, dir, "*.part"); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

func TestDeletedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, logstore.Config{Dir: dir})
	write(t, s, "i", "a\n"+strings.Repeat("x", 100<<10)+"\nb\n")
	if err := os.Remove(files(t, dir, "*.line")[0]); err != nil {
		t.Fatal(err)
	}
	expect(t, query(t, s, lofn.LogQuery{}), "a", "lofn: a line of 102400 bytes is missing here: newer ones took its place", "b")
	if err := os.Remove(files(t, dir, "*.log")[0]); err != nil {
		t.Fatal(err)
	}
	expect(t, query(t, s, lofn.LogQuery{}), "lofn: a file of the log is missing")
}
