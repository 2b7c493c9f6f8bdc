package queuetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"lofn"
)

func testCancelQueued(t *testing.T, s Storage) {
	q := s.open(t)
	id, other := submit(t, q, "echo"), submit(t, q, "echo")
	got, err := q.Cancel(t.Context(), id)
	if err != nil || got.State != lofn.CallCancelled || got.EndedAt == nil {
		t.Fatalf("Cancel: %+v, %v", got, err)
	}
	wantState(t, q, id, lofn.CallCancelled)
	take(t, q, lane("echo"), other)
	wantNone(t, q, lane("echo"))
	_, err = q.Cancel(t.Context(), id)
	wantCode(t, "Cancel once more", err, lofn.Conflict)
}

func testCancelRunning(t *testing.T, s Storage) {
	q := s.open(t)
	for _, last := range []lofn.Settlement{
		{State: lofn.CallCancelled, Reason: "stopped"},
		// A worker that did not notice wants another attempt.
		{State: lofn.CallQueued, Due: time.Now(), Status: 503},
	} {
		id := submit(t, q, "echo")
		d := take(t, q, lane("echo"), id)
		if got, err := q.Cancel(t.Context(), id); err != nil || got.State != lofn.CallRunning {
			t.Fatalf("Cancel while it runs: %+v, %v", got, err)
		}
		<-d.Context().Done()
		if cause := context.Cause(d.Context()); !errors.Is(cause, lofn.ErrCancelled) {
			t.Errorf("its context ended with %v", cause)
		}
		if got, err := q.Cancel(t.Context(), id); err != nil || got.State != lofn.CallRunning {
			t.Errorf("Cancel once more: %+v, %v", got, err)
		}
		mustSettle(t, d, last)
		if got := wantState(t, q, id, lofn.CallCancelled); got.EndedAt == nil {
			t.Errorf("its last status is %+v", got)
		}
		wantNone(t, q, lane("echo"))
	}
	// One that was done before it noticed has succeeded.
	id := submit(t, q, "echo")
	d := take(t, q, lane("echo"), id)
	if _, err := q.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	succeeded(t, d, "too late")
	wantState(t, q, id, lofn.CallSucceeded)
	// With a large answer, too, that was written before.
	id = submit(t, q, "echo")
	d = take(t, q, lane("echo"), id)
	body := d.Spool()
	if _, err := body.Write(pattern(200 << 10)); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	<-d.Context().Done()
	mustSettle(t, d, lofn.Settlement{State: lofn.CallSucceeded, Status: 200, Body: body})
	r, err := q.Result(t.Context(), id)
	checkBody(t, "an answer", r.Body, err, 200<<10)
}

func testCancelEnded(t *testing.T, s Storage) {
	q := s.open(t)
	for _, state := range []lofn.CallState{lofn.CallSucceeded, lofn.CallFailed, lofn.CallDead} {
		id := submit(t, q, "echo")
		mustSettle(t, take(t, q, lane("echo"), id), lofn.Settlement{State: state})
		_, err := q.Cancel(t.Context(), id)
		wantCode(t, fmt.Sprintf("Cancel of what is %s", state), err, lofn.Conflict)
		wantState(t, q, id, state)
	}
}
