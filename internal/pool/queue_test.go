package pool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
	"lofn/internal/pool"
)

// limited is echo with limits, as deployed in the generation.
func limited(generation int64, inflight, queue string) lofn.Function {
	fn := lofn.Function{Ref: echo, Replicas: 1, Generation: generation}
	fn.Spec.Env = map[string]string{lofn.EnvMaxInflight: inflight}
	fn.Spec.Annotations = map[string]string{lofn.AnnotationMaxQueue: queue}
	return fn
}

// busy is a pool with one replica of echo, "a", that takes so many calls.
func busy(t *testing.T, inflight, queue string) *pool.Pool {
	t.Helper()
	p := declared(t, 1, nil)
	p.Declare(limited(0, inflight, queue))
	p.Update(replica("a", lofn.Ready))
	return p
}

// got is what a call of Lease returned.
type got struct {
	who   string
	lease lofn.Lease
	err   error
}

// wait has a call wait for a lease, behind those that wait already.
func wait(ctx context.Context, p *pool.Pool, who string, results chan<- got) {
	go func() {
		l, err := p.Lease(ctx, echo)
		results <- got{who, l, err}
	}()
	synctest.Wait()
}

func TestALimitHoldsForEachReplica(t *testing.T) {
	p := busy(t, "2", "0")
	p.Update(replica("b", lofn.Ready))
	counts := map[string]int{}
	for range 4 {
		l, ok := p.TryLease(echo)
		if !ok {
			t.Fatal("no lease though a replica is free")
		}
		counts[l.Replica().ID]++
	}
	if counts["a"] != 2 || counts["b"] != 2 {
		t.Errorf("lent %v, want two of each", counts)
	}
	if _, ok := p.TryLease(echo); ok {
		t.Error("lent more than the limit")
	}
}

func TestCallsWaitInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := busy(t, "1", "10")
		current := lease(t, p)
		results := make(chan got, 10)
		want := []string{"1st", "2nd", "3rd"}
		for _, who := range want {
			wait(t.Context(), p, who, results)
		}
		for _, who := range want {
			if _, ok := p.TryLease(echo); ok {
				t.Error("a call overtook those that wait")
			}
			current.Release()
			current.Release() // gives nothing away twice
			synctest.Wait()
			if len(results) != 1 {
				t.Fatalf("one call ended and %d go on, want 1", len(results))
			}
			next := <-results
			if next.who != who || next.err != nil {
				t.Fatalf("%s goes on (%v), want %s", next.who, next.err, who)
			}
			current = next.lease
		}
		current.Release()
		if inFlight, waiting := p.Load(echo); inFlight != 0 || waiting != 0 {
			t.Errorf("afterwards %d are in flight and %d wait", inFlight, waiting)
		}
	})
}

func TestANewReplicaServesThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := busy(t, "1", "10")
		lease(t, p)
		results := make(chan got, 10)
		for _, who := range []string{"1st", "2nd", "3rd"} {
			wait(t.Context(), p, who, results)
		}
		p.Update(replica("b", lofn.Starting))
		p.Update(replica("b", lofn.Ready))
		synctest.Wait()
		if next := <-results; next.who != "1st" || next.lease.Replica().ID != "b" || len(results) != 0 {
			t.Errorf("%s goes on with %d others", next.who, len(results))
		}
		p.Declare(limited(0, "2", "10"))
		synctest.Wait()
		if len(results) != 2 {
			t.Errorf("%d go on after the limit was raised for two replicas, want 2", len(results))
		}
	})
}

func TestAReplicaKeepsTheLimitItWasDeployedWith(t *testing.T) {
	p := busy(t, "1", "0")
	p.Declare(limited(1, "3", "0"))
	newer := replica("b", lofn.Ready)
	newer.Generation = 1
	p.Update(newer)
	counts := map[string]int{}
	for range 4 {
		counts[lease(t, p).Replica().ID]++
	}
	if counts["a"] != 1 || counts["b"] != 3 {
		t.Errorf("lent %v, want one of the old and three of the new", counts)
	}
}

func TestACallThatLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := busy(t, "1", "10")
		current := lease(t, p)
		results := make(chan got, 10)
		leaving, leave := context.WithCancel(t.Context())
		hurried, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		wait(leaving, p, "leaving", results)
		wait(hurried, p, "hurried", results)
		wait(t.Context(), p, "patient", results)
		leave()
		synctest.Wait()
		if r := <-results; r.who != "leaving" || !errors.Is(r.err, context.Canceled) {
			t.Errorf("%s: %v", r.who, r.err)
		}
		if _, waiting := p.Load(echo); waiting != 2 {
			t.Errorf("%d wait after one left, want 2", waiting)
		}
		r := <-results
		if r.who != "hurried" || lofn.CodeOf(r.err) != lofn.DeadlineExceeded || !strings.Contains(r.err.Error(), "waited for a free replica, for 1.5s") {
			t.Errorf("%s: %v", r.who, r.err)
		}
		current.Release()
		if r := <-results; r.who != "patient" || r.err != nil {
			t.Errorf("%s: %v", r.who, r.err)
		}
	})
}

// TestALeaseThatComesTooLateIsGivenBack ends a call's context at the moment
// when its turn comes.
func TestALeaseThatComesTooLateIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := busy(t, "1", "10")
		results := make(chan got, 1)
		for range 200 {
			current := lease(t, p)
			ctx, leave := context.WithCancel(t.Context())
			wait(ctx, p, "", results)
			leave()
			current.Release()
			if r := <-results; r.err == nil {
				r.lease.Release()
			}
			if inFlight, waiting := p.Load(echo); inFlight != 0 || waiting != 0 {
				t.Fatalf("nobody has a lease, and %d are in flight and %d wait", inFlight, waiting)
			}
		}
	})
}

func TestAFullQueueRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := busy(t, "2", "6")
		held := []lofn.Lease{lease(t, p), lease(t, p)}
		results := make(chan got, 10)
		for range 6 {
			wait(t.Context(), p, "", results)
		}
		refuse := func() *lofn.Error {
			t.Helper()
			_, err := p.Lease(t.Context(), echo)
			e, ok := errors.AsType[*lofn.Error](err)
			if !ok || e.Code != lofn.Overloaded {
				t.Fatalf("got %v, want Overloaded", err)
			}
			return e
		}
		e := refuse()
		for _, has := range []string{"function echo.openfaas-fn has all 2 calls that it takes at a time (max_inflight; ready replicas: 1)", "the 6 calls that may wait (lofn.dev/max-queue)"} {
			if !strings.Contains(e.Text, has) {
				t.Errorf("%q says nothing of %q", e.Text, has)
			}
		}
		if e.RetryAfter != time.Second {
			t.Errorf("retry after %v though no call ended yet", e.RetryAfter)
		}
		time.Sleep(2 * time.Second) // the bubble's clock
		for _, l := range held {
			l.Release()
			wait(t.Context(), p, "", results)
		}
		// Two calls in two seconds, and six wait.
		if e := refuse(); e.RetryAfter != 6*time.Second {
			t.Errorf("retry after %v, want 6s", e.RetryAfter)
		}
		var refused uint64
		p.Queues(func(_ lofn.Ref, waiting int, n uint64) { refused = n })
		if refused != 2 {
			t.Errorf("%d calls count as refused, want 2", refused)
		}
		go func() {
			for range 8 {
				(<-results).lease.Release()
			}
		}()
		synctest.Wait()
		if inFlight, waiting := p.Load(echo); inFlight != 0 || waiting != 0 {
			t.Errorf("afterwards %d are in flight and %d wait", inFlight, waiting)
		}
	})
}

func TestAQueueOfNoneStillWakes(t *testing.T) {
	woken := 0
	p := pool.New(pool.Config{Poke: func(lofn.Ref) { woken++ }})
	fn := limited(0, "1", "0")
	fn.Replicas = 0
	p.Declare(fn)
	_, err := p.Lease(t.Context(), echo)
	if lofn.CodeOf(err) != lofn.Overloaded || !strings.Contains(err.Error(), "has no ready replica") {
		t.Errorf("got %v, want Overloaded", err)
	}
	if woken != 1 {
		t.Errorf("woken %d times, want once", woken)
	}
}

func TestWaitingCallsWakeAFunctionThatIsScaledToZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var woken atomic.Int32
		p := pool.New(pool.Config{Poke: func(lofn.Ref) { woken.Add(1) }})
		p.Declare(limited(0, "1", "10"))
		results := make(chan got, 1)
		wait(t.Context(), p, "", results)
		woken.Store(0)
		fn := limited(0, "1", "10")
		fn.Replicas = 0
		p.Declare(fn)
		synctest.Wait()
		if woken.Load() == 0 {
			t.Error("not woken though a call waits")
		}
		p.Update(replica("a", lofn.Ready))
		if r := <-results; r.err != nil {
			t.Error(r.err)
		}
	})
}

func TestACrashLoopEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := declared(t, 1, nil)
		results := make(chan got, 2)
		wait(t.Context(), p, "1st", results)
		wait(t.Context(), p, "2nd", results)
		crashed := replica("a", lofn.Failed)
		crashed.Failures = 3
		p.Update(crashed)
		for range 2 {
			if r := <-results; lofn.CodeOf(r.err) != lofn.Unavailable {
				t.Errorf("%s: %v", r.who, r.err)
			}
		}
	})
}

func TestACallThatComesAgainGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := busy(t, "1", "1")
		current := lease(t, p)
		results := make(chan got, 10)
		wait(t.Context(), p, "waits", results)
		current.Refused()
		synctest.Wait()
		go func() {
			l, err := p.Again(t.Context(), echo)
			results <- got{"again", l, err}
		}()
		synctest.Wait()
		p.Update(replica("a", lofn.Ready))
		for _, who := range []string{"again", "waits"} {
			r := <-results
			if r.who != who || r.err != nil {
				t.Fatalf("%s goes on (%v), want %s", r.who, r.err, who)
			}
			r.lease.Release()
		}
	})
}

// TestNoLeaseIsLostOrLentTwice has everything happen at once: calls that come,
// end, leave, and are refused, and replicas that come and go.
func TestNoLeaseIsLostOrLentTwice(t *testing.T) {
	p := busy(t, "3", "5")
	ids := []string{"a", "b", "c"}
	var inside [3]atomic.Int32
	var served, refused, left atomic.Int64
	call := func(random *rand.Rand) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if random.IntN(8) == 0 {
			go cancel()
		}
		l, ok := p.TryLease(echo)
		if !ok {
			var err error
			if l, err = p.Lease(ctx, echo); err != nil {
				switch {
				case lofn.CodeOf(err) == lofn.Overloaded:
					refused.Add(1)
				case errors.Is(err, context.Canceled):
					left.Add(1)
				default:
					t.Error(err)
				}
				return
			}
		}
		served.Add(1)
		at := slices.Index(ids, l.Replica().ID)
		if n := inside[at].Add(1); n > 3 {
			t.Errorf("%d calls on one replica that takes 3", n)
		}
		for range random.IntN(50) {
			_, _ = p.Load(echo)
		}
		inside[at].Add(-1)
		l.Release()
	}
	var callers, others sync.WaitGroup
	stop := make(chan struct{})
	for i := range 24 {
		callers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 7))
			for range 400 {
				call(random)
			}
		})
	}
	others.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			r := replica(ids[1+i%2], lofn.Ready)
			p.Update(r)
			_ = p.Drain(t.Context(), r)
			p.Update(replica(r.ID, lofn.Gone))
		}
	})
	callers.Wait()
	close(stop)
	others.Wait()
	if inFlight, waiting := p.Load(echo); inFlight != 0 || waiting != 0 {
		t.Errorf("afterwards %d are in flight and %d wait", inFlight, waiting)
	}
	t.Log(fmt.Sprint(served.Load(), " served, ", refused.Load(), " refused, ", left.Load(), " left"))
	if n := served.Load() + refused.Load() + left.Load(); n != 24*400 || served.Load() == 0 {
		t.Errorf("%d calls came to an end, want %d", n, 24*400)
	}
}
