package ledger

import (
	"net/http"
	"reflect"
	"testing"

	"lofn"
)

// entries is one of each kind, with something in every field.
func entries() []entry {
	ref := lofn.Ref{Namespace: "ns", Name: "f"}
	call := lofn.Call{Method: "PUT", Path: "/p", Query: "q", Host: "h", Remote: "r", Size: 4, Header: http.Header{"A": {"1", "2"}, "B": {}}}
	return []entry{
		&accepted{id: "1", function: ref, at: 2, key: "k", print: 3, callback: "http://c", blob: "b", request: appendRequest(nil, &call, []byte("body")),
			standing: standing{attempts: 1, refusals: 2, due: 3, started: 4, status: 5, reason: "r", worker: "w", stop: true, refusedSince: -6}},
		&accepted{id: "1", function: ref, request: []byte{}},
		&leased{worker: "w", at: 1, callback: true, ids: []string{"1", "", "3"}},
		&retried{id: "1", at: 2, due: 3, refused: true, status: 4, reason: "r"},
		&settled{id: "1", function: ref, state: lofn.CallDead, accepted: 2, key: "k", print: 3, attempts: 4, started: 5, ended: 6, status: 7, reason: "r", callback: "c",
			notice:   notice{state: lofn.CallbackPending, attempts: 1, due: 2, status: 3, reason: "r", worker: "w"},
			answered: true, size: 8, blob: "b", result: []byte("x")},
		&settled{id: "1", function: ref, state: lofn.CallFailed, result: []byte{}},
		&notified{id: "1", state: lofn.CallbackFailed, due: 2, status: 3, reason: "r"},
		&stopped{"1"}, &redriven{"1", 2}, &dropped{"1"}, &voided{"w"},
	}
}

func TestAPageReadsAsItWasWritten(t *testing.T) {
	want := title{writer: "w", number: 1 << 40, at: -5}
	p := newPage(want)
	for _, e := range entries() {
		p.add(e)
	}
	i := 0
	got, err := readPage(7, p.data, func(e entry, at place) {
		if !reflect.DeepEqual(e, p.steps[i].entry) {
			t.Errorf("entry %d: %+v, want %+v", i, e, p.steps[i].entry)
		}
		p.steps[i].place.record = 7
		if at != p.steps[i].place {
			t.Errorf("entry %d is at %+v, written at %+v", i, at, p.steps[i].place)
		}
		if again, err := entryAt(p.data, at); err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("entry %d by its place: %+v (%v)", i, again, err)
		}
		i++
	})
	if err != nil || got != want || i != len(entries()) {
		t.Errorf("read %+v and %d entries (%v)", got, i, err)
	}
}

func TestAPageGoesBack(t *testing.T) {
	p := newPage(title{writer: "w"})
	p.add(&stopped{"1"}, "1")
	before := string(p.data)
	m := p.mark()
	p.add(&dropped{"2"}, "2")
	p.back(m)
	if string(p.data) != before || len(p.steps) != 1 {
		t.Errorf("back at %q with %d steps, was %q", p.data, len(p.steps), before)
	}
}

// FuzzReadPage: whatever a record holds, it is read or refused.
func FuzzReadPage(f *testing.F) {
	p := newPage(title{writer: "w", number: 1, at: 2})
	for _, e := range entries() {
		p.add(e)
	}
	f.Add(p.data)
	for _, cut := range []int{0, 1, 5, len(p.data) / 2, len(p.data) - 1} {
		f.Add(p.data[:cut])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newState(lofn.DefaultQueueLimits)
		var all []step
		_, err := readPage(1, data, func(e entry, at place) { all = append(all, step{e, at}) })
		if err != nil {
			return
		}
		s.read(Record{Number: 1, Data: data}, all, "x")
		for _, step := range all {
			if a, ok := step.entry.(*accepted); ok {
				_, _, _ = a.call()
			}
		}
		s.consistent(t)
	})
}

// consistent checks what must hold of a state whatever was read.
func (s *state) consistent(t *testing.T) {
	t.Helper()
	open, live := 0, int64(0)
	for id, c := range s.calls {
		if c.id != id {
			t.Errorf("call %q is known as %q", c.id, id)
		}
		if !c.state().Final() {
			open++
		}
		if (c.index >= 0) == (c.lease != nil) && !(c.state().Final() && c.index < 0) {
			t.Errorf("call %q is %s, at %d of its lane, leased to %v", id, c.state(), c.index, c.lease)
		}
		live += int64(c.request.length) + int64(c.outcome.length)
	}
	if open != s.open || live != s.records.live {
		t.Errorf("%d calls are open and %d bytes live, counted %d and %d", open, live, s.open, s.records.live)
	}
	for _, f := range s.functions {
		if f.counts.Queued < 0 || f.counts.Running < 0 || f.counts.Dead < 0 || f.counts.Callbacks < 0 {
			t.Errorf("counts of %s: %+v", f.ref, f.counts)
		}
		for i := range f.lanes {
			for at, c := range f.lanes[i].calls {
				if int(c.index) != at || s.calls[c.id] != c {
					t.Errorf("a lane of %s has call %q at %d, which says %d", f.ref, c.id, at, c.index)
				}
			}
		}
	}
}
