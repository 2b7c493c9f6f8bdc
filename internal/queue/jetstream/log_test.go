package jetstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"lofn"
	"lofn/internal/queue/jetstream"
	"lofn/internal/queue/ledger"
)

// place is where logs are.
type place interface {
	// open opens the log, once more if it is open already.
	open(t testing.TB) *jetstream.Log
	// restart ends the server without a word, and starts it again.
	restart(t testing.TB)
}

// remote is a place in another process.
type remote struct{ *natsServer }

func (r remote) restart(t testing.TB) {
	r.kill()
	r.start(t)
}

// embedded is a place in this process.
type embedded struct {
	dir    string
	engine interface {
		jetstream.Engine
		Close()
	}
}

func (e *embedded) open(t testing.TB) *jetstream.Log {
	return openLog(t, jetstream.Config{Engine: e.engine, Log: testLog(t)})
}

func (e *embedded) restart(t testing.TB) {
	e.engine.Close()
	e.engine = openEngine(t, e.dir)
}

// everywhere runs a test in each kind of place.
func everywhere(t *testing.T, test func(t *testing.T, p place)) {
	t.Run("embedded", func(t *testing.T) {
		dir := t.TempDir()
		test(t, &embedded{dir: dir, engine: openEngine(t, dir)})
	})
	t.Run("external", func(t *testing.T) { test(t, remote{startServer(t)}) })
}

func mustAppend(t testing.TB, l ledger.Log, after uint64, data string) uint64 {
	t.Helper()
	number, err := l.Append(t.Context(), after, []byte(data), false)
	if err != nil {
		t.Fatalf("Append after %d: %v", after, err)
	}
	if number != after+1 {
		t.Fatalf("Append after %d has the number %d", after, number)
	}
	return number
}

func mustBeBehind(t testing.TB, l ledger.Log, after uint64) {
	t.Helper()
	if number, err := l.Append(t.Context(), after, []byte("late"), false); !errors.Is(err, ledger.ErrBehind) {
		t.Fatalf("Append after %d: %d, %v, want ErrBehind", after, number, err)
	}
}

// read returns the records as "number:data".
func read(t testing.TB, l ledger.Log, from uint64) []string {
	t.Helper()
	var all []string
	for record, err := range l.Read(t.Context(), from) {
		if err != nil {
			t.Fatalf("Read from %d: %v", from, err)
		}
		all = append(all, fmt.Sprintf("%d:%s", record.Number, record.Data))
	}
	return all
}

func mustRead(t testing.TB, l ledger.Log, from uint64, want ...string) {
	t.Helper()
	if got := read(t, l, from); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("Read from %d yields %v, want %v", from, got, want)
	}
}

func TestAppendAndRead(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		l := p.open(t)
		mustRead(t, l, 1)
		mustBeBehind(t, l, 1)
		mustAppend(t, l, 0, "a")
		mustBeBehind(t, l, 0)
		mustBeBehind(t, l, 2)
		mustAppend(t, l, 1, "b")
		mustAppend(t, l, 2, "")
		mustRead(t, l, 1, "1:a", "2:b", "3:")
		mustRead(t, l, 0, "1:a", "2:b", "3:")
		mustRead(t, l, 3, "3:")
		mustRead(t, l, 4)
		data, err := l.Get(t.Context(), 2)
		if err != nil || string(data) != "b" {
			t.Errorf("Get(2): %q, %v", data, err)
		}
		if _, err := l.Get(t.Context(), 4); err == nil || lofn.CodeOf(err) != lofn.NotFound {
			t.Errorf("Get(4): %v, want code NotFound", err)
		}
	})
}

func TestLargestRecord(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		l := p.open(t)
		want := bytes.Repeat([]byte("0123456789abcdef"), ledger.MaxRecordSize/16)
		mustAppend(t, l, 0, string(want))
		got, err := l.Get(t.Context(), 1)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes came back as %d, %v", len(want), len(got), err)
		}
	})
}

// What is durable is there after the server's sudden end; and who appended
// goes on where it was.
func TestRestart(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		l := p.open(t)
		mustAppend(t, l, 0, "a")
		mustAppend(t, l, 1, "b")
		p.restart(t)
		l = p.open(t)
		mustRead(t, l, 1, "1:a", "2:b")
		mustBeBehind(t, l, 0)
		mustAppend(t, l, 2, "c")
		mustRead(t, l, 1, "1:a", "2:b", "3:c")
	})
}

func TestTrim(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		l := p.open(t)
		for i := range uint64(5) {
			mustAppend(t, l, i, "x")
		}
		trim := func(before uint64) {
			t.Helper()
			if err := l.Trim(t.Context(), before); err != nil {
				t.Fatalf("Trim before %d: %v", before, err)
			}
		}
		trim(0)
		trim(1)
		mustRead(t, l, 1, "1:x", "2:x", "3:x", "4:x", "5:x")
		trim(3)
		trim(2)
		mustRead(t, l, 1, "3:x", "4:x", "5:x")
		mustRead(t, l, 4, "4:x", "5:x")
		if _, err := l.Get(t.Context(), 2); err == nil || lofn.CodeOf(err) != lofn.NotFound {
			t.Errorf("Get of a trimmed record: %v, want code NotFound", err)
		}
		mustAppend(t, l, 5, "y")
		p.restart(t)
		l = p.open(t)
		mustRead(t, l, 1, "3:x", "4:x", "5:x", "6:y")
		trim(100) // everything that there is
		mustRead(t, l, 1)
		mustRead(t, l, 7)
		mustBeBehind(t, l, 0)
		mustBeBehind(t, l, 5)
		p.restart(t)
		l = p.open(t)
		mustRead(t, l, 1)
		mustBeBehind(t, l, 0)
		mustAppend(t, l, 6, "z")
		mustRead(t, l, 1, "7:z")
	})
}

// Many handles append at once. Each record has a number of its own, and
// everybody reads the same.
func TestManyWriters(t *testing.T) {
	const writers, records = 8, 50
	everywhere(t, func(t *testing.T, p place) {
		var group sync.WaitGroup
		var behind atomic.Int64
		for w := range writers {
			l := p.open(t)
			group.Go(func() {
				last := uint64(0)
				for i := range records {
					for {
						number, err := l.Append(t.Context(), last, fmt.Appendf(nil, "%d/%d", w, i), false)
						if err == nil {
							last = number
							break
						}
						if !errors.Is(err, ledger.ErrBehind) {
							t.Error(err)
							return
						}
						behind.Add(1)
						for r, err := range l.Read(t.Context(), last+1) {
							if err != nil || r.Number != last+1 {
								t.Errorf("after %d comes %d, %v", last, r.Number, err)
								return
							}
							last = r.Number
						}
					}
				}
			})
		}
		group.Wait()
		next := make(map[string]int)
		for r, err := range p.open(t).Read(t.Context(), 1) {
			var w string
			var i int
			if _, scan := fmt.Sscanf(string(bytes.ReplaceAll(r.Data, []byte("/"), []byte(" "))), "%s %d", &w, &i); err != nil || scan != nil || next[w] != i {
				t.Fatalf("record %d is %s, %v, want count %d", r.Number, r.Data, err, next[w])
			}
			next[w]++
		}
		if len(next) != writers || next["0"] != records {
			t.Errorf("there are %v", next)
		}
		t.Logf("%d records, %d times somebody was behind", writers*records, behind.Load())
	})
}

// A reader that breaks off, and one whose context ends, leave nothing behind.
func TestBreakOff(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		l := p.open(t)
		for i := range uint64(100) {
			mustAppend(t, l, i, "x")
		}
		for range l.Read(t.Context(), 1) {
			break
		}
		ctx, cancel := context.WithCancel(t.Context())
		var last error
		for r, err := range l.Read(ctx, 1) {
			if last = err; r.Number == 50 {
				cancel()
			}
		}
		if last == nil {
			t.Error("Read went on to the end after its context had ended")
		}
		cancel()
	})
}
