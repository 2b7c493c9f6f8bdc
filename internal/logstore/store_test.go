package logstore_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"lofn"
	"lofn/internal/logstore"
)

func TestLinesAreCutFromPieces(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		pieces []string
		want   []string
	}{
		{"one line", []string{"a\n"}, []string{"a"}},
		{"lines in one piece", []string{"a\nb\n\nc\n"}, []string{"a", "b", "", "c"}},
		{"a line in pieces", []string{"a", "b", "c\nd", "\n"}, []string{"abc", "d"}},
		{"the last line without end", []string{"a\nb"}, []string{"a", "b"}},
		{"nothing", []string{"", ""}, nil},
		{"an empty line", []string{"\n"}, []string{""}},
		{"other bytes stay", []string{"a\r\n\x00\xff\n"}, []string{"a\r", "\x00\xff"}},
		{"64 KiB", []string{strings.Repeat("x", 64<<10) + "\n"}, []string{strings.Repeat("x", 64<<10)}},
		{"64 KiB and one", []string{"a\n" + strings.Repeat("x", 64<<10+1) + "\nb\n"}, []string{"a", strings.Repeat("x", 64<<10+1), "b"}},
		{"long without end", []string{strings.Repeat("x", 100<<10), strings.Repeat("y", 100<<10)}, []string{strings.Repeat("x", 100<<10) + strings.Repeat("y", 100<<10)}},
		{"long in pieces between lines", []string{"a\n" + strings.Repeat("x", 60<<10), strings.Repeat("x", 60<<10), "\nb\nc"},
			[]string{"a", strings.Repeat("x", 120<<10), "b", "c"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := open(t, logstore.Config{})
			write(t, s, "i", c.pieces...)
			expect(t, query(t, s, lofn.LogQuery{}), c.want...)
		})
	}
}

func TestLinesHaveInstanceAndTime(t *testing.T) {
	t.Parallel()
	s := open(t, logstore.Config{})
	before := time.Now()
	s.Append(ref(), "echo-1", "lofn: replica ended\nwith status 1")
	lines := query(t, s, lofn.LogQuery{})
	expect(t, lines, "lofn: replica ended with status 1")
	got := lines[0]
	if got.Function != ref() || got.Instance != "echo-1" || got.Time.Before(before.Round(0)) || got.Time.After(time.Now()) {
		t.Errorf("got %+v", got)
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	s := open(t, logstore.Config{})
	at := time.Unix(1000, 0)
	s.SetClock(func() time.Time { return at })
	for i, instance := range []string{"a", "b", "a", "b", "a"} {
		at = time.Unix(1000+int64(i), 0)
		write(t, s, instance, fmt.Sprintf("%d\n", i))
	}
	for _, c := range []struct {
		name string
		q    lofn.LogQuery
		want []string
	}{
		{"all", lofn.LogQuery{}, []string{"0", "1", "2", "3", "4"}},
		{"instance", lofn.LogQuery{Instance: "b"}, []string{"1", "3"}},
		{"unknown instance", lofn.LogQuery{Instance: "c"}, nil},
		{"since is included", lofn.LogQuery{Since: time.Unix(1003, 0)}, []string{"3", "4"}},
		{"since the future", lofn.LogQuery{Since: time.Unix(2000, 0)}, nil},
		{"tail", lofn.LogQuery{Tail: 2}, []string{"3", "4"}},
		{"tail of more than there is", lofn.LogQuery{Tail: 9}, []string{"0", "1", "2", "3", "4"}},
		{"tail of as many", lofn.LogQuery{Tail: 5}, []string{"0", "1", "2", "3", "4"}},
		{"tail -1", lofn.LogQuery{Tail: -1}, []string{"0", "1", "2", "3", "4"}},
		{"tail comes after the filters", lofn.LogQuery{Instance: "a", Tail: 2}, []string{"2", "4"}},
		{"tail of none", lofn.LogQuery{Instance: "c", Tail: 2}, nil},
		{"all of them", lofn.LogQuery{Instance: "a", Since: time.Unix(1001, 0), Tail: 1}, []string{"4"}},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, query(t, s, c.q), c.want...) })
	}
}

func TestOrderIsThatOfWritingWhenTheClockJumpsBack(t *testing.T) {
	t.Parallel()
	s := open(t, logstore.Config{})
	at := time.Unix(1000, 0)
	s.SetClock(func() time.Time { return at })
	write(t, s, "i", "first\n")
	at = time.Unix(500, 0)
	write(t, s, "i", "second\n")
	expect(t, query(t, s, lofn.LogQuery{}), "first", "second")
	expect(t, query(t, s, lofn.LogQuery{Tail: 1}), "second")
	expect(t, query(t, s, lofn.LogQuery{Since: time.Unix(700, 0)}), "first")
	f := follow(t, s, soon(t), lofn.LogQuery{})
	f.line()
	f.line()
	at = time.Unix(100, 0)
	write(t, s, "i", "third\n")
	if got := f.line(); got != "third" {
		t.Errorf("got %q", got)
	}
}

func TestNothingIsKeptOfUnknownFunctions(t *testing.T) {
	t.Parallel()
	s := open(t, logstore.Config{})
	expect(t, query(t, s, lofn.LogQuery{}))
	for _, err := range s.Logs(soon(t), lofn.LogQuery{Function: lofn.Ref{Namespace: "..", Name: "x"}}) {
		if lofn.CodeOf(err) != lofn.Invalid {
			t.Errorf("got %v", err)
		}
	}
	w := s.Writer(lofn.Ref{Namespace: "..", Name: "x"}, "i")
	if _, err := w.Write([]byte("a\n")); err != nil {
		t.Error(err)
	}
	if err := s.Remove(lofn.Ref{Namespace: "..", Name: "x"}); lofn.CodeOf(err) != lofn.Invalid {
		t.Errorf("got %v", err)
	}
	if err := s.Remove(ref()); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
}

// Lines of writers at the same time are whole, and in order for each.
func TestWritersInterleaveByLine(t *testing.T) {
	t.Parallel()
	s := open(t, logstore.Config{})
	const writers, each = 4, 300
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			w := s.Writer(ref(), fmt.Sprint(i))
			for n := range each {
				length := n * 7
				if n%100 == 0 {
					length = 70 << 10
				}
				text := fmt.Sprintf("%d %d %s\n", i, n, strings.Repeat("x", length))
				for len(text) > 0 {
					piece := min(len(text), 1000)
					_, _ = w.Write([]byte(text[:piece]))
					text = text[piece:]
				}
			}
			_ = w.Close()
		})
	}
	group.Wait()
	next := make([]int, writers)
	for _, line := range query(t, s, lofn.LogQuery{}) {
		var i, n int
		if _, err := fmt.Sscanf(line.Text, "%d %d", &i, &n); err != nil || fmt.Sprint(i) != line.Instance || n != next[i] {
			t.Fatalf("line %.40q of %s, want number %d: %v", line.Text, line.Instance, next[i], err)
		}
		next[i]++
	}
	for i, n := range next {
		if n != each {
			t.Errorf("writer %d: %d lines", i, n)
		}
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, logstore.Config{Dir: dir})
	old := s.Writer(ref(), "old")
	_, _ = old.Write([]byte("before\n"))
	f := follow(t, s, soon(t), lofn.LogQuery{})
	f.line()
	if err := s.Remove(ref()); err != nil {
		t.Fatal(err)
	}
	f.ended()
	if n := usage(t, dir); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
	write(t, s, "new", "after\n")
	_, err := old.Write([]byte("late\n" + strings.Repeat("x", 100<<10)))
	if err != nil || old.Close() != nil {
		t.Errorf("a writer of the removed log: %v", err)
	}
	expect(t, query(t, s, lofn.LogQuery{}), "after")
}

func TestWriteAfterClose(t *testing.T) {
	t.Parallel()
	s := open(t, logstore.Config{})
	w := s.Writer(ref(), "i")
	_, _ = w.Write([]byte("end"))
	if w.Close() != nil || w.Close() != nil {
		t.Error("closing twice")
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("writing after Close is no error")
	}
	expect(t, query(t, s, lofn.LogQuery{}), "end")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	write(t, s, "i", "dropped\n")
}

// Many functions cost files and goroutines only while they write.
func TestManyFunctions(t *testing.T) {
	t.Parallel()
	s := open(t, logstore.Config{})
	const functions = 1100
	for round := range 2 {
		for i := range functions {
			s.Append(lofn.Ref{Namespace: "openfaas-fn", Name: fmt.Sprintf("f%d", i)}, "i", fmt.Sprint(round))
		}
	}
	if n := openFiles(t, s); n > 64 {
		t.Errorf("%d files are open", n)
	}
	for i := range functions {
		var got []string
		for line, err := range s.Logs(soon(t), lofn.LogQuery{Function: lofn.Ref{Namespace: "openfaas-fn", Name: fmt.Sprintf("f%d", i)}}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, line.Text)
		}
		if fmt.Sprint(got) != "[0 1]" {
			t.Fatalf("f%d: %q", i, got)
		}
	}
}

func openFiles(t *testing.T, s *logstore.Store) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("counting open files needs /proc")
	}
	n := 0
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(target, s.Dir()+"/") {
			n++
		}
	}
	return n
}
