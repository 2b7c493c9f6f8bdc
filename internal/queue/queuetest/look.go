package queuetest

import (
	"slices"
	"testing"
	"time"

	"lofn"
)

// menagerie enqueues and settles until there is a call in each state, and
// returns their IDs.
func menagerie(t *testing.T, q lofn.Queue, function string) map[lofn.CallState]string {
	t.Helper()
	ids := make(map[lofn.CallState]string)
	for _, state := range []lofn.CallState{lofn.CallSucceeded, lofn.CallFailed, lofn.CallDead, lofn.CallCancelled, lofn.CallRunning, lofn.CallQueued} {
		ids[state] = submit(t, q, function)
		if state == lofn.CallQueued {
			continue
		}
		d := take(t, q, lane(function), ids[state])
		if state != lofn.CallRunning {
			mustSettle(t, d, lofn.Settlement{State: state, Reason: "so it was to be"})
		}
	}
	return ids
}

func testList(t *testing.T, s Storage) {
	q := s.open(t)
	a, b := menagerie(t, q, "a"), menagerie(t, q, "b")
	other := submission("", "")
	other.Function = lofn.Ref{Namespace: "other", Name: "a"}
	c := mustEnqueue(t, q, other)
	inOrder := func(of map[lofn.CallState]string) []string {
		return []string{of[lofn.CallSucceeded], of[lofn.CallFailed], of[lofn.CallDead], of[lofn.CallCancelled], of[lofn.CallRunning], of[lofn.CallQueued]}
	}
	for name, test := range map[string]struct {
		query lofn.CallQuery
		want  []string
	}{
		"all":              {lofn.CallQuery{Limit: 100}, slices.Concat(inOrder(a), inOrder(b), []string{c})},
		"the first":        {lofn.CallQuery{Limit: 3}, inOrder(a)[:3]},
		"a function":       {lofn.CallQuery{Name: "b", Limit: 100}, inOrder(b)},
		"a namespace":      {lofn.CallQuery{Namespace: "other", Limit: 100}, []string{c}},
		"one of one":       {lofn.CallQuery{Namespace: lofn.DefaultNamespace, Name: "a", Limit: 100}, inOrder(a)},
		"a state":          {lofn.CallQuery{States: []lofn.CallState{lofn.CallDead}, Limit: 100}, []string{a[lofn.CallDead], b[lofn.CallDead]}},
		"states":           {lofn.CallQuery{Name: "a", Namespace: lofn.DefaultNamespace, States: []lofn.CallState{lofn.CallRunning, lofn.CallFailed}, Limit: 100}, []string{a[lofn.CallFailed], a[lofn.CallRunning]}},
		"an unknown state": {lofn.CallQuery{States: []lofn.CallState{"odd"}, Limit: 100}, nil},
		"nothing":          {lofn.CallQuery{Name: "none", Limit: 100}, nil},
	} {
		found, err := q.List(t.Context(), test.query)
		if err != nil {
			t.Fatalf("List of %s: %v", name, err)
		}
		var got []string
		for _, status := range found {
			got = append(got, status.ID)
			if want := mustStatus(t, q, status.ID); want.State != status.State || want.Reason != status.Reason || want.Function != status.Function {
				t.Errorf("List of %s says %+v, Status %+v", name, status, want)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("List of %s: %v, want %v", name, got, test.want)
		}
	}
}

func testCounts(t *testing.T, s Storage) {
	q := s.open(t)
	menagerie(t, q, "a")
	id := submitWithCallback(t, q, "a")
	before := counts(q, "a")
	if before.Oldest == nil || time.Since(*before.Oldest) > timeout {
		t.Errorf("the oldest that waits is from %v", before.Oldest)
	}
	before.Oldest = nil
	want := lofn.QueueCounts{
		Function: ref("a").Host(), Queued: 2, Running: 1, Dead: 1,
		Accepted: 7, Succeeded: 1, Failed: 1, Died: 1, Cancelled: 1,
	}
	if before != want {
		t.Errorf("counted are %+v, want %+v", before, want)
	}
	for _, d := range takeAll(t, q, lane("a")) {
		state := lofn.CallQueued
		if d.Call().ID == id {
			state = lofn.CallSucceeded
		}
		mustSettle(t, d, lofn.Settlement{State: state, Due: time.Now().Add(time.Hour)})
	}
	want.Queued, want.Retries, want.Succeeded, want.Callbacks = 1, 1, 2, 1
	after := counts(q, "a")
	after.Oldest = nil
	if after != want {
		t.Errorf("then counted are %+v, want %+v", after, want)
	}
	mustSettle(t, take(t, q, callbacks("a"), id), lofn.Settlement{State: lofn.CallSucceeded, Status: 200})
	if got := counts(q, "a").Callbacks; got != 0 {
		t.Errorf("%d callbacks are left", got)
	}
	if got := counts(q, "none"); got != (lofn.QueueCounts{}) {
		t.Errorf("a function that has nothing is counted as %+v", got)
	}
}

func testResult(t *testing.T, s Storage) {
	q := s.open(t)
	ids := menagerie(t, q, "a")
	for state, want := range map[lofn.CallState]lofn.Code{
		lofn.CallQueued: lofn.Conflict, lofn.CallRunning: lofn.Conflict,
		lofn.CallSucceeded: lofn.NotFound, lofn.CallCancelled: lofn.NotFound, lofn.CallDead: lofn.NotFound,
	} {
		_, err := q.Result(t.Context(), ids[state])
		wantCode(t, "Result of what was not answered and is "+string(state), err, want)
	}
	for state, id := range ids {
		c, err := q.Request(t.Context(), id)
		if err != nil || c.ID != id || c.Function != ref("a") {
			t.Errorf("Request of what is %s: %+v, %v", state, c, err)
		}
		if kept := state != lofn.CallSucceeded && state != lofn.CallCancelled; kept != (c.Method != "") {
			t.Errorf("Request of what is %s is kept: %t", state, !kept)
		}
	}
	id := submit(t, q, "b")
	succeeded(t, take(t, q, lane("b"), id), "done")
	r, err := q.Result(t.Context(), id)
	if got := text(t, r.Body, err); got != "done" || r.Status != 200 || r.Size != 4 || !slices.Equal(r.Header["X-Answer"], []string{"a", "b"}) {
		t.Errorf("the result is %q, %+v", got, r)
	}
}
