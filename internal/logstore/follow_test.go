package logstore_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"lofn"
	"lofn/internal/logstore"
)

func TestFollow(t *testing.T) {
	t.Parallel()
	s := open(t, logstore.Config{})
	w := s.Writer(ref(), "i")
	f := follow(t, s, soon(t), lofn.LogQuery{})
	for i := range 3 {
		_, _ = fmt.Fprintf(w, "%d\n", i)
		if got := f.line(); got != fmt.Sprint(i) {
			t.Fatalf("got %q, want %d", got, i)
		}
	}
	write(t, s, "i", strings.Repeat("x", 100<<10)+"\nnext\n")
	if got := f.line(); len(got) != 100<<10 {
		t.Errorf("long line of %d bytes", len(got))
	}
	if got := f.line(); got != "next" {
		t.Errorf("got %q", got)
	}
}

func TestFollowAfterTail(t *testing.T) {
	t.Parallel()
	s := open(t, logstore.Config{})
	write(t, s, "a", "1\n2\n3\n")
	write(t, s, "b", "4\n")
	f := follow(t, s, soon(t), lofn.LogQuery{Tail: 1, Instance: "a"})
	none := follow(t, s, soon(t), lofn.LogQuery{Tail: 5, Instance: "c"})
	if got := f.line(); got != "3" {
		t.Errorf("got %q", got)
	}
	write(t, s, "b", "5\n")
	write(t, s, "a", "6\n7\n")
	write(t, s, "c", "8\n")
	if got := f.line() + f.line(); got != "67" {
		t.Errorf("got %q", got)
	}
	if got := none.line(); got != "8" {
		t.Errorf("got %q", got)
	}
}

func TestFollowEnds(t *testing.T) {
	t.Parallel()
	t.Run("with its context", func(t *testing.T) {
		s := open(t, logstore.Config{})
		write(t, s, "i", "a\n")
		ctx, cancel := context.WithCancel(soon(t))
		f := follow(t, s, ctx, lofn.LogQuery{})
		f.line()
		cancel()
		f.ended()
	})
	t.Run("with the store", func(t *testing.T) {
		s := open(t, logstore.Config{})
		write(t, s, "i", "a\nb\n")
		f := follow(t, s, soon(t), lofn.LogQuery{})
		f.line()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := f.line(); got != "b" {
			t.Errorf("got %q", got)
		}
		f.ended()
	})
}

func TestQueryEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := open(t, logstore.Config{})
	write(t, s, "i", "a\n")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, q := range []lofn.LogQuery{{Function: ref()}, {Function: ref(), Tail: 1}} {
		failed := 0
		for _, err := range s.Logs(ctx, q) {
			if err != context.Canceled {
				t.Errorf("got %v", err)
			}
			failed++
		}
		if failed != 1 {
			t.Errorf("%d results", failed)
		}
	}
}

// Every follower gets each line once, wherever in the writing it begins.
func TestFollowersMissNothing(t *testing.T) {
	t.Parallel()
	s := open(t, logstore.Config{})
	const lines, followers = 5000, 4
	var group sync.WaitGroup
	start := make(chan struct{})
	for range followers {
		group.Go(func() {
			<-start
			next := 0
			for line, err := range s.Logs(soon(t), lofn.LogQuery{Function: ref(), Follow: true}) {
				if err != nil || line.Text != fmt.Sprint(next) {
					t.Errorf("got %q, want %d: %v", line.Text, next, err)
					return
				}
				if next++; next == lines {
					return
				}
			}
			t.Errorf("ended after %d lines", next)
		})
	}
	w := s.Writer(ref(), "i")
	for i := range lines {
		if i == lines/10 {
			close(start)
		}
		_, _ = fmt.Fprintf(w, "%d\n", i)
	}
	group.Wait()
}

// A follower that stands still delays nobody. When it goes on it gets what it
// had not read of its segment, is told how many lines are gone, and goes on
// with the oldest that are kept.
func TestFollowerIsOvertaken(t *testing.T) {
	t.Parallel()
	s := open(t, logstore.Config{MaxBytes: 1 << 20})
	w := s.Writer(ref(), "i")
	_, _ = w.Write([]byte("0\n"))
	f := follow(t, s, soon(t), lofn.LogQuery{})
	f.line()
	const lines = 5000
	padding := strings.Repeat("x", 1000)
	for i := 1; i <= lines; i++ {
		_, _ = fmt.Fprintf(w, "%d %s\n", i, padding)
	}
	next, gaps := 1, 0
	for next <= lines {
		text := f.line()
		var missed, n int
		if _, err := fmt.Sscanf(text, "lofn: %d lines are missing here", &missed); err == nil {
			next += missed
			gaps++
			continue
		}
		if _, err := fmt.Sscanf(text, "%d", &n); err != nil || n != next {
			t.Fatalf("got %.40q, want line %d", text, next)
		}
		next++
	}
	if gaps != 1 {
		t.Errorf("%d gaps", gaps)
	}
}
