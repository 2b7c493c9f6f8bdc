package pool_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
	"lofn/internal/pool"
)

var echo = lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}

func declared(t *testing.T, replicas int, poke func(lofn.Ref)) *pool.Pool {
	t.Helper()
	p := pool.New(pool.Config{Poke: poke})
	p.Declare(lofn.Function{Ref: echo, Replicas: replicas})
	return p
}

func replica(id string, state lofn.State) lofn.Replica {
	return lofn.Replica{Function: echo, ID: id, State: state}
}

func lease(t *testing.T, p *pool.Pool) lofn.Lease {
	t.Helper()
	l, err := p.Lease(t.Context(), echo)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLeaseOfAnUnknownFunction(t *testing.T) {
	_, err := pool.New(pool.Config{}).Lease(t.Context(), echo)
	if lofn.CodeOf(err) != lofn.NotFound {
		t.Fatalf("got %v, want NotFound", err)
	}
}

func TestLeaseTakesTheLeastBusyReplica(t *testing.T) {
	p := declared(t, 3, nil)
	for _, id := range []string{"a", "b", "c"} {
		p.Update(replica(id, lofn.Ready))
	}
	counts := map[string]int{}
	for range 30 {
		counts[lease(t, p).Replica().ID]++
	}
	for id, n := range counts {
		if n != 10 {
			t.Errorf("replica %s holds %d of 30 calls, want 10", id, n)
		}
	}
	if inFlight, waiting := p.Load(echo); inFlight != 30 || waiting != 0 {
		t.Errorf("load is %d in flight and %d waiting, want 30 and 0", inFlight, waiting)
	}
}

func TestReleaseIsIdempotent(t *testing.T) {
	p := declared(t, 1, nil)
	p.Update(replica("a", lofn.Ready))
	l := lease(t, p)
	l.Release()
	l.Release()
	if inFlight, _ := p.Load(echo); inFlight != 0 {
		t.Errorf("%d calls in flight after the only one was released", inFlight)
	}
}

func TestLeaseWaitsForAReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := declared(t, 1, nil)
		p.Update(replica("a", lofn.Starting))
		got := make(chan lofn.Lease)
		go func() { got <- lease(t, p) }()
		time.Sleep(3 * time.Second) // the bubble's clock
		if _, waiting := p.Load(echo); waiting != 1 {
			t.Errorf("%d calls wait, want 1", waiting)
		}
		p.Update(replica("a", lofn.Ready))
		(<-got).Release()
		if _, waiting := p.Load(echo); waiting != 0 {
			t.Errorf("%d calls wait after the lease, want 0", waiting)
		}
	})
}

func TestLeaseWakesAFunctionScaledToZero(t *testing.T) {
	var p *pool.Pool
	p = declared(t, 0, func(ref lofn.Ref) {
		p.Declare(lofn.Function{Ref: ref, Replicas: 1})
		p.Update(replica("a", lofn.Ready))
	})
	if id := lease(t, p).Replica().ID; id != "a" {
		t.Errorf("leased %q, want the replica that waking made", id)
	}
}

func TestLeaseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := declared(t, 1, nil)
		p.Update(lofn.Replica{Function: echo, ID: "a", State: lofn.Starting, Reason: "unpacking"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := p.Lease(ctx, echo)
		if lofn.CodeOf(err) != lofn.DeadlineExceeded {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
	})
}

func TestLeaseOfAFunctionThatIsRemovedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := declared(t, 1, nil)
		failed := make(chan error)
		go func() {
			_, err := p.Lease(t.Context(), echo)
			failed <- err
		}()
		synctest.Wait()
		p.Forget(echo)
		if err := <-failed; lofn.CodeOf(err) != lofn.NotFound {
			t.Errorf("got %v, want NotFound", err)
		}
	})
}

func TestLeaseRidesOverACrashButNotACrashLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := declared(t, 1, nil)
		crashed := replica("a", lofn.Failed)
		p.Update(crashed)
		done := make(chan error)
		go func() {
			_, err := p.Lease(t.Context(), echo)
			done <- err
		}()
		synctest.Wait()
		p.Update(replica("a", lofn.Ready))
		if err := <-done; err != nil {
			t.Errorf("a call during one crash failed: %v", err)
		}
		crashed.Failures, crashed.Reason = 3, "exited with status 1"
		p.Update(crashed)
		_, err := p.Lease(t.Context(), echo)
		if lofn.CodeOf(err) != lofn.Unavailable {
			t.Errorf("got %v, want Unavailable", err)
		}
	})
}

func TestDrainWaitsForCallsAndAdmitsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := declared(t, 1, nil)
		old := replica("old", lofn.Ready)
		p.Update(old)
		first := lease(t, p)
		drained := make(chan error)
		go func() { drained <- p.Drain(t.Context(), old) }()
		synctest.Wait()
		select {
		case <-drained:
			t.Fatal("drained while a call held the replica")
		default:
		}
		p.Update(replica("new", lofn.Ready))
		if id := lease(t, p).Replica().ID; id != "new" {
			t.Errorf("leased %q while it drains", id)
		}
		first.Release()
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

func TestDrainOfAFunctionThatWasRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := declared(t, 1, nil)
		old := replica("old", lofn.Ready)
		p.Update(old)
		call := lease(t, p)
		p.Forget(echo)
		p.Declare(lofn.Function{Ref: echo, Replicas: 1})
		drained := make(chan error)
		go func() { drained <- p.Drain(t.Context(), old) }()
		synctest.Wait()
		select {
		case <-drained:
			t.Fatal("drained while a call held the replica")
		default:
		}
		p.Update(replica("new", lofn.Ready))
		if id := lease(t, p).Replica().ID; id != "new" {
			t.Errorf("leased %q of the function before", id)
		}
		call.Release()
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

func TestARefusingReplicaIsLeftAloneForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := declared(t, 2, nil)
		p.Update(replica("a", lofn.Ready))
		lease(t, p).Refused()
		p.Update(replica("b", lofn.Ready))
		for range 4 {
			if id := lease(t, p).Replica().ID; id != "b" {
				t.Fatalf("leased %q, which had just refused", id)
			}
		}
		time.Sleep(2 * time.Second) // the bubble's clock
		if id := lease(t, p).Replica().ID; id != "a" {
			t.Errorf("leased %q, want the idle replica back after the pause", id)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	p := declared(t, 2, nil)
	p.Update(replica("a", lofn.Ready))
	p.Update(replica("b", lofn.Ready))
	var users sync.WaitGroup
	users.Go(func() {
		for range 200 {
			_ = p.Drain(t.Context(), replica("a", lofn.Ready))
			p.Update(replica("a", lofn.Gone))
			p.Update(replica("a", lofn.Ready))
		}
	})
	for range 8 {
		users.Go(func() {
			for range 500 {
				l, err := p.Lease(t.Context(), echo)
				if err != nil {
					t.Error(err)
					return
				}
				l.Release()
			}
		})
	}
	users.Wait()
	if inFlight, waiting := p.Load(echo); inFlight != 0 || waiting != 0 {
		t.Errorf("after the last call %d are in flight and %d wait", inFlight, waiting)
	}
}

func TestRoomCountsReplicasThatTakeCallsAndAllCalls(t *testing.T) {
	p := pool.New(pool.Config{})
	room := func(wantReplicas, wantCalls int) {
		t.Helper()
		if replicas, calls := p.Room(echo); replicas != wantReplicas || calls != wantCalls {
			t.Fatalf("there is room of %d replicas with %d calls, want %d with %d", replicas, calls, wantReplicas, wantCalls)
		}
	}
	room(0, 0)
	p.Declare(lofn.Function{Ref: echo, Replicas: 3, Spec: lofn.Spec{Env: map[string]string{lofn.EnvMaxInflight: "1"}}})
	p.Update(replica("a", lofn.Ready))
	p.Update(replica("b", lofn.Ready))
	p.Update(replica("c", lofn.Starting))
	room(2, 0)
	first, second := lease(t, p), lease(t, p)
	p.Ask(echo, func(lofn.Lease, error) {}) // waits
	room(2, 3)
	first.Refused()
	room(1, 2)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = p.Drain(ctx, second.Replica())
	room(0, 2)
}
