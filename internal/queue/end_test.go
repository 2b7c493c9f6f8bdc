package queue_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
	"lofn/internal/queue"
)

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, queue.Config{Gateway: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if functionOf(r) == "stubborn" {
				<-r.Context().Done()
				status(200)(w, r)
				return
			}
			hang(w, r)
		})})
		b.declare(echo, 1, lofn.Spec{})
		b.declare(named("stubborn"), 1, lofn.Spec{})
		id := b.submit(lofn.Call{}, "")
		late := b.submit(lofn.Call{Function: named("stubborn")}, "")
		synctest.Wait()
		for _, id := range []string{id, late} {
			if _, err := b.queue.Cancel(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		if s := b.outcome(id); s.State != lofn.CallCancelled || !strings.Contains(s.Reason, "cancelled") {
			t.Errorf("the call is %+v", s)
		}
		if s := b.outcome(late); s.State != lofn.CallSucceeded {
			t.Errorf("one that was answered all the same is %+v", s)
		}
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, queue.Config{Gateway: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if functionOf(r) == "quick" {
				after(5*time.Second, 200)(w, r)
				return
			}
			hang(w, r)
		})})
		b.declare(echo, 1, lofn.Spec{})
		b.declare(named("quick"), 1, lofn.Spec{})
		slow, quick := b.submit(lofn.Call{}, ""), b.submit(lofn.Call{Function: named("quick")}, "")
		synctest.Wait()
		b.stop()
		late := b.submit(lofn.Call{}, "")
		time.Sleep(time.Second)
		if s := b.status(late); s.State != lofn.CallQueued {
			t.Errorf("after the end of Run a call was taken: %+v", s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := b.worker.Drain(ctx); err != nil {
			t.Error(err)
		}
		if s := b.status(quick); s.State != lofn.CallSucceeded {
			t.Errorf("a call that had time to end is %+v", s)
		}
		if s := b.status(slow); s.State != lofn.CallQueued || s.Attempts != 0 || s.NextAt.After(time.Now()) || s.RefusedSince != nil {
			t.Errorf("a call that was cut off is %+v", s)
		}
	})
}

func TestRunGoesOnAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, queue.Config{Gateway: http.HandlerFunc(after(time.Minute, 200))})
		b.declare(echo, 1, lofn.Spec{})
		first := b.submit(lofn.Call{}, "")
		synctest.Wait()
		b.stop()
		second := b.submit(lofn.Call{}, "")
		if s := b.outcome(first); s.State != lofn.CallSucceeded {
			t.Errorf("the call under way is %+v", s)
		}
		b.run()
		if s := b.outcome(second); s.State != lofn.CallSucceeded {
			t.Errorf("the next one is %+v", s)
		}
	})
}

func TestAQueueThatFailsIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, queue.Config{Gateway: answers(status(200))})
		b.failing.Store(5)
		b.declare(echo, 1, lofn.Spec{Env: map[string]string{lofn.EnvMaxInflight: "1"}})
		began := time.Now()
		b.outcomes(10)
		if took := time.Since(began); took < time.Second || took > 2*time.Second {
			t.Errorf("with a failure every quarter of a second it took %v", took)
		}
	})
}

// deafDelivery is one whose settlement the queue does not take.
type deafDelivery struct{ lofn.Delivery }

func (deafDelivery) Settle(ctx context.Context, _ lofn.Settlement) error {
	<-ctx.Done()
	return lofn.Errorf(lofn.DeadlineExceeded, "the queue had no time for it: %w", context.Cause(ctx))
}

// forgetful is a delivery whose answer's body the queue cannot keep once.
type forgetful struct {
	lofn.Delivery
	forgets *atomic.Int64
}

func (f forgetful) Settle(ctx context.Context, s lofn.Settlement) error {
	if s.Body != nil && f.forgets.Add(-1) >= 0 {
		s.Body.Discard()
		return lofn.Errorf(lofn.Full, "the disk is full")
	}
	return f.Delivery.Settle(ctx, s)
}

func TestACallWhoseAnswerIsNotKeptIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, queue.Config{Gateway: answers(status(200))})
		var forgets atomic.Int64
		forgets.Store(1)
		b.wrap = func(d lofn.Delivery) lofn.Delivery { return forgetful{d, &forgets} }
		b.declare(echo, 1, lofn.Spec{})
		id := b.submit(lofn.Call{}, "")
		synctest.Wait()
		if s := b.status(id); s.State != lofn.CallQueued || !strings.Contains(s.Reason, "cannot be kept: the disk is full") {
			t.Errorf("after the first attempt it is %+v", s)
		}
		if s := b.outcome(id); s.State != lofn.CallSucceeded || s.Attempts != 2 {
			t.Errorf("it ended as %+v", s)
		}
	})
}

func TestDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, queue.Config{Gateway: answers(status(200))})
		b.wrap = func(d lofn.Delivery) lofn.Delivery { return deafDelivery{d} }
		b.declare(echo, 1, lofn.Spec{})
		b.submit(lofn.Call{}, "")
		synctest.Wait()
		b.stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if err := b.worker.Drain(ctx); err == nil || !strings.Contains(err.Error(), "made again") {
			t.Errorf("the drain ended with %v", err)
		}
		if took := time.Since(began); took < time.Minute || took > 70*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
