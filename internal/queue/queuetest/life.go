package queuetest

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"lofn"
	"lofn/internal/queue/ledger"
)

func testSuccess(t *testing.T, s Storage) {
	q := s.open(t)
	id := submit(t, q, "echo")
	d := take(t, q, lane("echo"), id)
	if got := d.Status(); got.State != lofn.CallRunning || got.Attempts != 1 || got.StartedAt == nil {
		t.Errorf("the delivery's status is %+v", got)
	}
	if got := wantState(t, q, id, lofn.CallRunning); got.Attempts != 1 || got.StartedAt == nil || got.EndedAt != nil {
		t.Errorf("while it runs its status is %+v", got)
	}
	if err := d.Context().Err(); err != nil {
		t.Errorf("while it runs its context has ended: %v", err)
	}
	wantNone(t, q, lane("echo"))
	succeeded(t, d, "done")
	got := wantState(t, q, id, lofn.CallSucceeded)
	if got.Attempts != 1 || got.Status != 200 || got.EndedAt == nil || got.ExpiresAt == nil || got.ResultSize == nil || *got.ResultSize != 4 {
		t.Errorf("its last status is %+v", got)
	}
	if d.Context().Err() == nil {
		t.Error("a delivery that was settled has a context that goes on")
	}
	wantCode(t, "Settle once more", d.Settle(t.Context(), lofn.Settlement{State: lofn.CallFailed, Status: 500}), lofn.Conflict)
	wantState(t, q, id, lofn.CallSucceeded)
	wantNone(t, q, lane("echo"))
}

// later is long enough to see that something is not done before its time.
const later = 50 * time.Millisecond

func testRetry(t *testing.T, s Storage) {
	q := s.open(t)
	id := submit(t, q, "echo")
	for attempt := 1; attempt <= 3; attempt++ {
		d := take(t, q, lane("echo"), id)
		due := time.Now().Add(later)
		mustSettle(t, d, lofn.Settlement{State: lofn.CallQueued, Due: due, Status: 503, Reason: "try later"})
		got := wantState(t, q, id, lofn.CallQueued)
		if got.Attempts != attempt || got.Status != 503 || got.Reason != "try later" || got.NextAt == nil || !got.NextAt.Equal(due) {
			t.Errorf("after attempt %d its status is %+v, want the next one at %s", attempt, got, due)
		}
		again := take(t, q, lane("echo"), id)
		if now := time.Now(); now.Before(due) {
			t.Errorf("attempt %d was made %s before it was due", attempt+1, due.Sub(now))
		}
		mustSettle(t, again, lofn.Settlement{State: lofn.CallQueued, Refused: true, Due: time.Now()})
	}
	succeeded(t, take(t, q, lane("echo"), id), "at last")
	if got := wantState(t, q, id, lofn.CallSucceeded); got.Attempts != 4 || got.Reason != "" {
		t.Errorf("its last status is %+v", got)
	}
}

func testRefusal(t *testing.T, s Storage) {
	q := s.open(t)
	id := submit(t, q, "echo")
	for range 3 {
		d := take(t, q, lane("echo"), id)
		if got := d.Status().Attempts; got != 1 {
			t.Errorf("after refusals only this is attempt %d", got)
		}
		mustSettle(t, d, lofn.Settlement{State: lofn.CallQueued, Due: time.Now(), Refused: true, Status: 429, Reason: "busy"})
		if got := wantState(t, q, id, lofn.CallQueued); got.Attempts != 0 {
			t.Errorf("a refusal counts: %+v", got)
		}
	}
	mustSettle(t, take(t, q, lane("echo"), id), lofn.Settlement{State: lofn.CallFailed, Status: 400, Reason: "no"})
	if got := wantState(t, q, id, lofn.CallFailed); got.Attempts != 1 || got.Reason != "no" || got.Status != 400 {
		t.Errorf("its last status is %+v", got)
	}
}

func testOrder(t *testing.T, s Storage) {
	q := s.open(t)
	var ids []string
	for range 6 {
		ids = append(ids, submit(t, q, "echo"))
	}
	taken := takeAll(t, q, lane("echo"))
	if len(taken) != len(ids) {
		t.Fatalf("%d of %d calls were delivered", len(taken), len(ids))
	}
	var last time.Time
	for i, d := range taken {
		if d.Call().ID != ids[i] {
			t.Errorf("number %d is %s, want %s", i, d.Call().ID, ids[i])
		}
		// Turned around, the last one first.
		last = time.Now().Add(later)
		due := last.Add(-time.Duration(i) * time.Second)
		mustSettle(t, d, lofn.Settlement{State: lofn.CallQueued, Due: due, Refused: true})
	}
	wait(t, "all are due", func() bool { return time.Now().After(last) })
	slices.Reverse(ids)
	for i, d := range takeAll(t, q, lane("echo")) {
		if d.Call().ID != ids[i] {
			t.Errorf("turned around, number %d is %s, want %s", i, d.Call().ID, ids[i])
		}
	}
}

func testLanes(t *testing.T, s Storage) {
	q := s.open(t)
	other := lofn.Lane{Function: lofn.Ref{Namespace: "other", Name: "a"}}
	a, b := submit(t, q, "a"), submit(t, q, "b")
	third := submission("", "c")
	third.Function = other.Function
	c := mustEnqueue(t, q, third)
	wantNone(t, q, lane("c"))
	wantNone(t, q, callbacks("a"))
	take(t, q, other, c)
	take(t, q, lane("b"), b)
	wantNone(t, q, lane("b"))
	take(t, q, lane("a"), a)
}

func testTakeMost(t *testing.T, s Storage) {
	q := s.open(t)
	for range 5 {
		submit(t, q, "echo")
	}
	for _, step := range []struct{ most, want int }{{0, 0}, {2, 2}, {2, 2}, {2, 1}, {2, 0}} {
		taken, err := q.Take(t.Context(), lane("echo"), step.most)
		if err != nil || len(taken) != step.want {
			t.Errorf("Take of at most %d returned %d, %v, want %d", step.most, len(taken), err, step.want)
		}
	}
}

// submitWithCallback enqueues a call whose outcome somebody wants.
func submitWithCallback(t *testing.T, q lofn.Queue, function string) string {
	t.Helper()
	one := submission(function, "body")
	one.Callback = "http://callback/"
	return mustEnqueue(t, q, one)
}

func wantCallback(t *testing.T, q lofn.Queue, id, state string, attempts, status int) lofn.CallbackStatus {
	t.Helper()
	got := mustStatus(t, q, id).Callback
	if got == nil || got.State != state || got.Attempts != attempts || got.Status != status {
		t.Fatalf("the callback of %s is %+v, want it %s after %d attempts, with status %d", id, got, state, attempts, status)
	}
	return *got
}

func testCallback(t *testing.T, s Storage) {
	q := s.open(t)
	id := submitWithCallback(t, q, "echo")
	d := take(t, q, lane("echo"), id)
	wantNone(t, q, callbacks("echo"))
	wantCallback(t, q, id, lofn.CallbackWaiting, 0, 0)
	succeeded(t, d, "done")
	wantCallback(t, q, id, lofn.CallbackPending, 0, 0)
	wantNone(t, q, lane("echo"))
	d = take(t, q, callbacks("echo"), id)
	if got := d.Call(); got.Callback != "http://callback/" || got.Function != ref("echo") {
		t.Errorf("the callback's call is %+v", got)
	}
	r, err := d.Result(t.Context())
	if got := text(t, r.Body, err); got != "done" || r.Status != 200 || !slices.Equal(r.Header["X-Answer"], []string{"a", "b"}) {
		t.Errorf("the outcome for the callback is %q, %+v", got, r)
	}
	due := time.Now().Add(later)
	mustSettle(t, d, lofn.Settlement{State: lofn.CallQueued, Due: due, Status: 502, Reason: "away"})
	got := wantCallback(t, q, id, lofn.CallbackPending, 1, 502)
	if got.NextAt == nil || !got.NextAt.Equal(due) || got.Reason != "away" {
		t.Errorf("the callback is %+v, want the next attempt at %s", got, due)
	}
	wantState(t, q, id, lofn.CallSucceeded)
	d = take(t, q, callbacks("echo"), id)
	if now := time.Now(); now.Before(due) {
		t.Errorf("the callback was made %s before it was due", due.Sub(now))
	}
	mustSettle(t, d, lofn.Settlement{State: lofn.CallSucceeded, Status: 204})
	wantCallback(t, q, id, lofn.CallbackDelivered, 2, 204)
	wantNone(t, q, callbacks("echo"))
	if got := answer(t, q, id); got != "done" {
		t.Errorf("the result is %q", got)
	}
}

func testCallbackGivenUp(t *testing.T, s Storage) {
	q := s.open(t)
	dead, cancelled, without := submitWithCallback(t, q, "dead"), submitWithCallback(t, q, "cancelled"), submit(t, q, "dead")
	for _, d := range takeAll(t, q, lane("dead")) {
		mustSettle(t, d, lofn.Settlement{State: lofn.CallDead, Status: 500, Reason: "it died"})
	}
	if _, err := q.Cancel(t.Context(), cancelled); err != nil {
		t.Fatal(err)
	}
	mustSettle(t, take(t, q, callbacks("dead"), dead), lofn.Settlement{State: lofn.CallFailed, Status: 404, Reason: "nobody there"})
	if got := wantCallback(t, q, dead, lofn.CallbackFailed, 1, 404); got.Reason != "nobody there" {
		t.Errorf("the callback is %+v", got)
	}
	wantState(t, q, dead, lofn.CallDead)
	wantNone(t, q, callbacks("dead"))
	if got := mustStatus(t, q, without).Callback; got != nil {
		t.Errorf("a call without a callback has %+v", got)
	}
	d := take(t, q, callbacks("cancelled"), cancelled)
	if got := d.Status().State; got != lofn.CallCancelled {
		t.Errorf("the callback is told %s", got)
	}
	_, err := d.Result(t.Context())
	wantCode(t, "the answer of a call that was not made", err, lofn.NotFound)
}

func testDead(t *testing.T, s Storage) {
	q := s.open(t)
	id := submitWithCallback(t, q, "echo")
	for attempt := 1; attempt <= 2; attempt++ {
		d := take(t, q, lane("echo"), id)
		if got := d.Status().Attempts; got != 1 {
			t.Errorf("a call that was redriven begins with attempt %d", got)
		}
		body, err := d.Body(t.Context())
		if got := text(t, body, err); got != "body" {
			t.Errorf("its body is %q", got)
		}
		last := d.Spool()
		if _, err := last.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		mustSettle(t, d, lofn.Settlement{State: lofn.CallDead, Status: 500, Reason: "it died", Body: last, Header: http.Header{}})
		got := wantState(t, q, id, lofn.CallDead)
		if got.Reason != "it died" || got.Status != 500 || got.ExpiresAt != nil || answer(t, q, id) != "last words" {
			t.Errorf("the dead call is %+v", got)
		}
		if c, err := q.Request(t.Context(), id); err != nil || c.Method != http.MethodPost || c.Size != 4 {
			t.Errorf("the request of a dead call is %+v, %v", c, err)
		}
		if attempt == 1 {
			if got, err := q.Redrive(t.Context(), id); err != nil || got.State != lofn.CallQueued {
				t.Fatalf("Redrive: %+v, %v", got, err)
			}
			wantNone(t, q, callbacks("echo"))
			wantCallback(t, q, id, lofn.CallbackWaiting, 0, 0)
		}
	}
	if err := q.Drop(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	_, err := q.Status(t.Context(), id)
	wantCode(t, "Status of what was dropped", err, lofn.NotFound)
	wantNone(t, q, lane("echo"))
	wantNone(t, q, callbacks("echo"))
}

func testNotDead(t *testing.T, s Storage) {
	q := s.open(t)
	refused := func(id string, state lofn.CallState) {
		t.Helper()
		_, err := q.Redrive(t.Context(), id)
		wantCode(t, fmt.Sprintf("Redrive of what is %s", state), err, lofn.Conflict)
		wantCode(t, fmt.Sprintf("Drop of what is %s", state), q.Drop(t.Context(), id), lofn.Conflict)
		wantState(t, q, id, state)
	}
	id := submit(t, q, "echo")
	refused(id, lofn.CallQueued)
	d := take(t, q, lane("echo"), id)
	refused(id, lofn.CallRunning)
	succeeded(t, d, "")
	refused(id, lofn.CallSucceeded)
}

func testExpiry(t *testing.T, s Storage) {
	q := s.open(t, leaseTime(time.Second), func(c *ledger.Config) {
		c.Limits = lofn.QueueLimits{Backlog: 100, FunctionBacklog: 100, Keep: later, KeepCount: 100}
	})
	gone, dead, waits := submit(t, q, "echo"), submit(t, q, "echo"), submit(t, q, "echo")
	succeeded(t, take(t, q, lane("echo"), gone), string(pattern(100<<10)))
	mustSettle(t, take(t, q, lane("echo"), dead), lofn.Settlement{State: lofn.CallDead})
	wait(t, "the outcome is forgotten", func() bool {
		_, err := q.Status(t.Context(), gone)
		return err != nil && lofn.CodeOf(err) == lofn.NotFound
	})
	_, err := q.Result(t.Context(), gone)
	wantCode(t, "Result of what has expired", err, lofn.NotFound)
	wantState(t, q, dead, lofn.CallDead)
	wantState(t, q, waits, lofn.CallQueued)
	if c := counts(q, "echo"); c.Dead != 1 || c.Queued != 1 {
		t.Errorf("what is left is counted as %+v", c)
	}
}
