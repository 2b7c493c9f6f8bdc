package jetstream_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"lofn"
	"lofn/internal/queue/ledger"
	"lofn/internal/queue/mem"
)

// TestLogIsLikeTheOneInMemory does the same at random to a log and to the one
// in memory, which is the specification.
func TestLogIsLikeTheOneInMemory(t *testing.T) {
	steps := 400
	if testing.Short() {
		steps = 100
	}
	everywhere(t, func(t *testing.T, p place) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		m := &model{T: t, rand: rand.New(rand.NewPCG(seed, 0)), place: p, log: p.open(t), like: mem.NewLog()}
		for range steps {
			m.step()
		}
		m.read(0)
	})
}

type model struct {
	*testing.T
	rand  *rand.Rand
	place place
	log   ledger.Log
	like  *mem.Log
	last  uint64 // the number of the last record
}

// number is one that is in the log, or not far from it.
func (m *model) number() uint64 { return m.rand.Uint64N(m.last + 3) }

func (m *model) step() {
	m.Helper()
	switch n := m.rand.IntN(100); {
	case n < 60:
		after := m.last
		if m.rand.IntN(4) == 0 {
			after = m.number()
		}
		m.append(after)
	case n < 75:
		m.read(min(m.number(), m.last+1))
	case n < 90:
		m.get(m.number())
	case n < 98:
		before := m.number()
		if err := errors.Join(m.log.Trim(m.Context(), before), m.like.Trim(m.Context(), before)); err != nil {
			m.Fatalf("Trim before %d: %v", before, err)
		}
	default:
		m.place.restart(m)
		m.log = m.place.open(m)
	}
}

func (m *model) append(after uint64) {
	m.Helper()
	data := make([]byte, m.rand.IntN(2000))
	for i := range data {
		data[i] = byte(m.rand.Uint32())
	}
	got, err := m.log.Append(m.Context(), after, data, m.rand.IntN(2) == 0)
	want, wantErr := m.like.Append(m.Context(), after, data, false)
	if got != want || !errors.Is(err, wantErr) {
		m.Fatalf("Append after %d: %d, %v, want %d, %v", after, got, err, want, wantErr)
	}
	m.last = max(m.last, want)
}

func (m *model) read(from uint64) {
	m.Helper()
	collect := func(l ledger.Log) (all []ledger.Record) {
		for r, err := range l.Read(m.Context(), from) {
			if err != nil {
				m.Fatalf("Read from %d: %v", from, err)
			}
			all = append(all, r)
		}
		return all
	}
	got, want := collect(m.log), collect(m.like)
	same := func(a, b ledger.Record) bool { return a.Number == b.Number && bytes.Equal(a.Data, b.Data) }
	if !slices.EqualFunc(got, want, same) {
		m.Fatalf("Read from %d yields %s, want %s", from, numbers(got), numbers(want))
	}
}

func numbers(records []ledger.Record) (all string) {
	for _, r := range records {
		all += fmt.Sprintf(" %d(%d)", r.Number, len(r.Data))
	}
	return all
}

func (m *model) get(number uint64) {
	m.Helper()
	got, err := m.log.Get(m.Context(), number)
	want, wantErr := m.like.Get(m.Context(), number)
	if !bytes.Equal(got, want) || (err == nil) != (wantErr == nil) || err != nil && lofn.CodeOf(err) != lofn.CodeOf(wantErr) {
		m.Fatalf("Get of %d: %d bytes, %v, want %d, %v", number, len(got), err, len(want), wantErr)
	}
}
