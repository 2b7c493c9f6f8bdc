package queuetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"lofn"
	"lofn/internal/queue/ledger"
)

// survey is all that can be seen of the calls.
func survey(t *testing.T, q lofn.Queue) (all []lofn.CallStatus) {
	t.Helper()
	all, err := q.List(t.Context(), lofn.CallQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func testReopen(t *testing.T, s Storage) {
	q := s.open(t)
	ids := menagerie(t, q, "a")
	pending := submitWithCallback(t, q, "b")
	succeeded(t, take(t, q, lane("b"), pending), "done")
	mustSettle(t, take(t, q, callbacks("b"), pending), lofn.Settlement{State: lofn.CallQueued, Due: time.Now(), Status: 502})
	waits := submit(t, q, "c")
	mustSettle(t, take(t, q, lane("c"), waits), lofn.Settlement{State: lofn.CallQueued, Due: time.Now().Add(time.Hour), Status: 503, Reason: "later"})
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := survey(t, q)
	_, err := q.Enqueue(t.Context(), submission("a", ""))
	wantCode(t, "Enqueue after Close", err, lofn.Unavailable)
	q = s.open(t)
	if after := survey(t, q); !reflect.DeepEqual(after, before) {
		t.Errorf("after a restart there is\n%+v, before there was\n%+v", after, before)
	}
	if got := answer(t, q, pending); got != "done" {
		t.Errorf("the result is %q", got)
	}
	// What ran was given back, and is the older one.
	d := take(t, q, lane("a"), ids[lofn.CallRunning])
	if got := d.Status(); got.Attempts != 2 {
		t.Errorf("what was given back is %+v, want its second attempt", got)
	}
	take(t, q, lane("a"), ids[lofn.CallQueued])
	take(t, q, callbacks("b"), pending)
	wantNone(t, q, lane("c"))
	if _, err := q.Redrive(t.Context(), ids[lofn.CallDead]); err != nil {
		t.Error(err)
	}
}

func testAbandoned(t *testing.T, s Storage) {
	q := s.open(t)
	name := q.WorkerName()
	ids := menagerie(t, q, "a")
	pending := submitWithCallback(t, q, "b")
	succeeded(t, take(t, q, lane("b"), pending), "done")
	take(t, q, callbacks("b"), pending)
	q.Abandon()
	q = s.open(t, func(c *ledger.Config) { c.Dead = func(worker string) bool { return worker == name } })
	if q.WorkerName() == name {
		t.Errorf("two processes are called %s", name)
	}
	for state, id := range ids {
		if state != lofn.CallRunning {
			wantState(t, q, id, state)
		}
	}
	taken := takeAll(t, q, lane("a"))
	if len(taken) != 2 {
		t.Fatalf("%d calls are delivered to the next process, want the one that waited and the one that ran", len(taken))
	}
	for _, d := range taken {
		if d.Call().ID == ids[lofn.CallRunning] && d.Status().Attempts != 2 {
			t.Errorf("what ran when its process ended is delivered as %+v, want its second attempt", d.Status())
		}
		body, err := d.Body(t.Context())
		if got := text(t, body, err); got != "body" {
			t.Errorf("the body is %q", got)
		}
		succeeded(t, d, "again")
	}
	d := take(t, q, callbacks("b"), pending)
	mustSettle(t, d, lofn.Settlement{State: lofn.CallSucceeded, Status: 200})
	wantCallback(t, q, pending, lofn.CallbackDelivered, 2, 200)
}

func testLeasedOnce(t *testing.T, s Storage) {
	const calls = 60
	handles := []*ledger.Ledger{s.open(t, shared), s.open(t, shared), s.open(t, shared)}
	accepted := make(map[string]bool)
	for i := range calls {
		accepted[submit(t, handles[i%2], "echo")] = true
	}
	taken := make(chan lofn.Delivery, 10*calls)
	var group sync.WaitGroup
	for _, q := range handles {
		for range 2 {
			group.Go(func() {
				for len(taken) < calls {
					some, err := q.Take(t.Context(), lane("echo"), 7)
					if err != nil {
						t.Error(err)
						return
					}
					for _, d := range some {
						taken <- d
					}
				}
			})
		}
	}
	group.Wait()
	close(taken)
	for d := range taken {
		if !accepted[d.Call().ID] {
			t.Errorf("call %s was delivered twice, or never accepted", d.Call().ID)
		}
		delete(accepted, d.Call().ID)
		succeeded(t, d, "done")
	}
	if len(accepted) > 0 {
		t.Errorf("%d calls were not delivered", len(accepted))
	}
}

func testSharedBounds(t *testing.T, s Storage) {
	a, b := s.open(t, shared), s.open(t, shared)
	one := submission("echo", "body")
	one.Key, one.MaxBacklog = "key", 1
	first := mustEnqueue(t, a, one)
	one = submission("echo", "body")
	one.Key, one.MaxBacklog = "key", 1
	if again := mustEnqueue(t, b, one); again != first {
		t.Errorf("one key has the calls %s and %s", first, again)
	}
	one = submission("echo", "")
	one.MaxBacklog = 1
	_, err := b.Enqueue(t.Context(), one)
	wantOverloaded(t, "a second call", err)
	succeeded(t, take(t, b, lane("echo"), first), "done")
	wait(t, "the other process accepts a call, too", func() bool {
		one = submission("echo", "")
		one.MaxBacklog = 1
		_, err := a.Enqueue(t.Context(), one)
		return err == nil
	})
}

func testCancelElsewhere(t *testing.T, s Storage) {
	a, b := s.open(t, shared), s.open(t, shared)
	id := submit(t, a, "echo")
	d := take(t, b, lane("echo"), id)
	// The other one need not have heard of the lease yet.
	if got, err := a.Cancel(t.Context(), id); err != nil || got.State != lofn.CallRunning {
		t.Fatalf("Cancel: %+v, %v", got, err)
	}
	<-d.Context().Done()
	if cause := context.Cause(d.Context()); !errors.Is(cause, lofn.ErrCancelled) {
		t.Errorf("its context ended with %v", cause)
	}
	mustSettle(t, d, lofn.Settlement{State: lofn.CallCancelled})
	wantState(t, b, id, lofn.CallCancelled)
	wait(t, "the other process knows", func() bool { return mustStatus(t, a, id).State == lofn.CallCancelled })
}

// short is a lease time that a test can wait for.
const short = 300 * time.Millisecond

func testStaleWorker(t *testing.T, s Storage) {
	for _, callback := range []bool{false, true} {
		name := fmt.Sprintf("callback-%t", callback)
		stale := s.open(t, shared, func(c *ledger.Config) { c.Mute = true })
		fresh := s.open(t, shared, leaseTime(short))
		id := submitWithCallback(t, stale, name)
		from := lane(name)
		if callback {
			succeeded(t, take(t, stale, from, id), "done")
			from = callbacks(name)
		}
		late := take(t, stale, from, id)
		next := take(t, fresh, from, id)
		if late.Context().Err() == nil {
			<-late.Context().Done()
		}
		if cause := context.Cause(late.Context()); lofn.CodeOf(cause) != lofn.Conflict || errors.Is(cause, lofn.ErrCancelled) {
			t.Errorf("the context of the lost lease ended with %v", cause)
		}
		wantCode(t, "Settle after the lease was lost", late.Settle(t.Context(), lofn.Settlement{State: lofn.CallFailed, Status: 418}), lofn.Conflict)
		mustSettle(t, next, lofn.Settlement{State: lofn.CallSucceeded, Status: 204})
		wantCode(t, "Settle after the outcome", late.Settle(t.Context(), lofn.Settlement{State: lofn.CallFailed, Status: 418}), lofn.Conflict)
		if got := wantState(t, fresh, id, lofn.CallSucceeded); !callback && (got.Attempts != 2 || got.Status != 204) {
			t.Errorf("its last status is %+v", got)
		}
		if callback {
			wantCallback(t, fresh, id, lofn.CallbackDelivered, 2, 204)
		}
		// Both have come to the same end, and the stale one can go on.
		wait(t, "the stale one knows", func() bool {
			return reflect.DeepEqual(mustStatus(t, stale, id), mustStatus(t, fresh, id))
		})
		again := submit(t, stale, name)
		succeeded(t, take(t, stale, lane(name), again), "done")
		stale.Abandon()
		fresh.Abandon()
	}
}

// testLongCall has a call that takes several times the lease time.
func testLongCall(t *testing.T, s Storage) {
	const lease = 2 * time.Second
	slow, other := s.open(t, shared, leaseTime(lease)), s.open(t, shared, leaseTime(lease))
	id := submit(t, slow, "echo")
	d := take(t, slow, lane("echo"), id)
	end := time.Now().Add(3 * lease)
	wait(t, "three lease times are over", func() bool {
		wantNone(t, other, lane("echo"))
		return time.Now().After(end)
	})
	if err := d.Context().Err(); err != nil {
		t.Errorf("its context ended: %v", context.Cause(d.Context()))
	}
	succeeded(t, d, "done")
	if got := wantState(t, slow, id, lofn.CallSucceeded); got.Attempts != 1 {
		t.Errorf("its last status is %+v", got)
	}
}

func testInterrupted(t *testing.T, s Storage) {
	if s.Interrupt == nil {
		t.Skip("this queue is not kept by a server that can end")
	}
	q := s.open(t)
	ids := menagerie(t, q, "a")
	large := submission("b", string(pattern(1<<20)))
	largeID := mustEnqueue(t, q, large)
	d := take(t, q, lane("b"), largeID)
	s.Interrupt(t)
	succeeded(t, d, string(pattern(300<<10)))
	for state, id := range ids {
		wantState(t, q, id, state)
	}
	r, err := q.Result(t.Context(), largeID)
	checkBody(t, "an answer", r.Body, err, 300<<10)
	wait(t, "calls are accepted again", func() bool {
		_, err := q.Enqueue(t.Context(), submission("c", ""))
		return err == nil
	})
}
