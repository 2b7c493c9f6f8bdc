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

// audit checks the lines that one query yields of writers that number theirs:
// each is whole and in its writer's order, and the only remarks are those about
// lines that newer ones replaced.
type audit struct {
	t      *testing.T
	after  map[string]int // the writer's next number is not less
	lines  int            // yielded
	missed int            // as the remarks say
}

func newAudit(t *testing.T) *audit { return &audit{t: t, after: make(map[string]int)} }

func numbered(n, length int) string {
	return fmt.Sprintf("%d %d %s", n, length, strings.Repeat(string(rune('a'+n%26)), length))
}

func (a *audit) check(line lofn.LogLine, err error) bool {
	var n, length int
	if err != nil {
		a.t.Errorf("the query failed: %v", err)
		return false
	}
	if _, err := fmt.Sscanf(line.Text, "lofn: %d lines are missing here", &n); err == nil {
		a.missed += n
		return true
	}
	if strings.HasPrefix(line.Text, "lofn: a line of ") {
		a.missed++
		return true
	}
	if _, err := fmt.Sscanf(line.Text, "%d %d", &n, &length); err != nil || line.Text != numbered(n, length) {
		a.t.Errorf("got %.80q (%d bytes) of %s", line.Text, len(line.Text), line.Instance)
		return false
	}
	if n < a.after[line.Instance] {
		a.t.Errorf("%s: line %d, when it was to be %d or later", line.Instance, n, a.after[line.Instance])
		return false
	}
	a.after[line.Instance] = n + 1
	a.lines++
	return true
}

// lengthOf makes most lines short, and some of any length up to twice what a
// record holds.
func lengthOf(n int) int {
	if n%20 == 0 {
		return n * 7919 % (128 << 10)
	}
	return n * 31 % 300
}

// writeNumbered writes lines in pieces that end anywhere.
func writeNumbered(s *logstore.Store, instance string, from, to int) {
	w := s.Writer(ref(), instance)
	for n := from; n < to; n++ {
		text := numbered(n, lengthOf(n)) + "\n"
		cut := n * 13 % len(text)
		_, _ = w.Write([]byte(text[:cut]))
		_, _ = w.Write([]byte(text[cut:]))
	}
	_ = w.Close()
}

// Whatever is being written, rolled and forgotten meanwhile, readers see whole
// lines, and those who follow can account for each.
func TestReadersWhileManyWrite(t *testing.T) {
	t.Parallel()
	s := open(t, logstore.Config{MaxBytes: 2 << 20})
	write(t, s, "first", numbered(0, 0)+"\n")
	const writers, each = 6, 1500
	var writing, reading, following sync.WaitGroup
	for range 3 {
		following.Add(1)
		reading.Go(func() {
			a := newAudit(t)
			for line, err := range s.Logs(soon(t), lofn.LogQuery{Function: ref(), Follow: true}) {
				if !a.check(line, err) || line.Instance == "last" {
					break
				}
				if line.Instance == "first" {
					following.Done()
				}
			}
			if want := 1 + writers*each + 1; a.lines+a.missed != want {
				t.Errorf("%d lines came and %d were said to be missing, of %d", a.lines, a.missed, want)
			}
		})
	}
	following.Wait()
	written := make(chan struct{})
	for _, q := range []lofn.LogQuery{{}, {Tail: 10}, {Tail: 1000, Instance: "1"}} {
		q.Function = ref()
		reading.Go(func() { queryUntil(t, s, q, written) })
	}
	for i := range writers {
		writing.Go(func() { writeNumbered(s, fmt.Sprint(i), 0, each) })
	}
	writing.Wait()
	close(written)
	write(t, s, "last", numbered(0, 0)+"\n")
	reading.Wait()
}

func queryUntil(t *testing.T, s *logstore.Store, q lofn.LogQuery, done <-chan struct{}) {
	for {
		a := newAudit(t)
		for line, err := range s.Logs(soon(t), q) {
			if !a.check(line, err) {
				return
			}
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

// Readers of a log that is removed end, and take nothing that the next function
// of the same name writes for a part of it.
func TestReadersWhileItIsMadeAgain(t *testing.T) {
	t.Parallel()
	s := open(t, logstore.Config{})
	const rounds = 1500
	removed := make(chan struct{})
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for n := 0; ; n += 3 {
				writeNumbered(s, fmt.Sprint(i), n, n+3)
				select {
				case <-removed:
					return
				default:
				}
			}
		})
		group.Go(func() { queryUntil(t, s, lofn.LogQuery{Function: ref(), Follow: i < 3}, removed) })
	}
	for range rounds {
		if err := s.Remove(ref()); err != nil {
			t.Error(err)
		}
	}
	close(removed)
	_ = s.Close()
	group.Wait()
}

// Those who follow a store that is closed get what was written before, and all
// of it is there for the next.
func TestFollowersWhileItCloses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kept := 0
	for round := range 6 {
		s := open(t, logstore.Config{Dir: dir, MaxBytes: 256 << 20})
		var group sync.WaitGroup
		counts := make([]int, 4)
		var halfway sync.WaitGroup
		halfway.Add(len(counts))
		for i := range counts {
			group.Go(func() {
				a, here := newAudit(t), sync.OnceFunc(halfway.Done)
				defer here()
				for line, err := range s.Logs(soon(t), lofn.LogQuery{Function: ref(), Follow: true}) {
					if !a.check(line, err) || a.missed > 0 {
						t.Errorf("lines are missing: %.80q", line.Text)
						break
					}
					if a.lines == kept+50 {
						here()
					}
				}
				counts[i] = a.lines
			})
			group.Go(func() { writeNumbered(s, fmt.Sprint(round, i), 0, 150) })
		}
		halfway.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		group.Wait()
		s = open(t, logstore.Config{Dir: dir, MaxBytes: 256 << 20})
		kept = len(query(t, s, lofn.LogQuery{}))
		for _, n := range counts {
			if n != kept {
				t.Errorf("a follower got %d lines, %d are kept", n, kept)
			}
		}
		_ = s.Close()
	}
}

// Damage is told with the time of what is damaged, and not to those who ask
// for newer lines.
func TestOldDamageIsNotNews(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, open(t, logstore.Config{Dir: dir}), "i", "a\n")
	file := files(t, dir, "*.log")[0]
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(whole, make([]byte, 50)...), 0o600); err != nil {
		t.Fatal(err)
	}
	crash := time.Unix(1_000_000, 0)
	if err := os.Chtimes(file, crash, crash); err != nil {
		t.Fatal(err)
	}
	s := open(t, logstore.Config{Dir: dir})
	write(t, s, "i", "b\n")
	all := query(t, s, lofn.LogQuery{Instance: "i"})
	expect(t, all, "a", "lofn: 50 bytes of the log are damaged and were left out", "b")
	if !all[1].Time.Equal(crash) || all[1].Instance != "lofn" {
		t.Errorf("got %+v", all[1])
	}
	if all = query(t, s, lofn.LogQuery{Since: crash.Add(time.Second)}); len(all) != 2 {
		t.Errorf("got %q", texts(all))
	}
	if all = query(t, s, lofn.LogQuery{Since: crash}); len(all) != 3 {
		t.Errorf("got %q", texts(all))
	}
}
