package jetstream_test

import (
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/queue/jetstream"
	"lofn/internal/queue/ledger"
	store "lofn/internal/store/jetstream"
)

// openQueueOn opens the queue in an engine as a process would.
func openQueueOn(t *testing.T, engine *store.Engine, dir string, change func(*ledger.Config)) *ledger.Ledger {
	t.Helper()
	bodies, err := jetstream.OpenDir(filepath.Join(dir, "bodies"))
	if err != nil {
		t.Fatal(err)
	}
	config := ledger.Config{
		Log: openLog(t, jetstream.Config{Engine: engine, Log: testLog(t)}), Blobs: bodies,
		Limits: lofn.DefaultQueueLimits, Worker: "w", Logger: testLog(t), LeaseTime: 5 * time.Second,
	}
	change(&config)
	q, err := ledger.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Abandon)
	return q
}

// A process that has handed its data over settles the calls that it has under
// way, small and large, while the one after it makes others; each has one
// outcome. If the one after it fails, the first has everything back.
func TestUpgrade(t *testing.T) {
	dir := t.TempDir()
	first := openEngine(t, filepath.Join(dir, "engine"))
	before := openQueueOn(t, first, dir, func(*ledger.Config) {})
	under := make(map[string]lofn.Delivery)
	for range 4 {
		d := submitAndTake(t, before)
		under[d.Call().ID] = d
	}
	settleOne := func() (id string) {
		t.Helper()
		for id, d := range under {
			answer := d.Spool()
			if _, err := io.WriteString(answer, strings.Repeat("done ", 10_000)); err != nil {
				t.Fatal(err)
			}
			if err := d.Settle(t.Context(), lofn.Settlement{State: lofn.CallSucceeded, Status: 200, Body: answer}); err != nil {
				t.Fatalf("Settle in the process before: %v", err)
			}
			delete(under, id)
			return id
		}
		return ""
	}
	before.Share()
	for range 2 {
		first.HandOver()
		second := openEngine(t, filepath.Join(dir, "engine"))
		after := openQueueOn(t, second, dir, func(c *ledger.Config) {
			c.Worker, c.Dead = "w", func(worker string) bool { return worker != before.WorkerName() }
		})
		if err := second.Lend(); err != nil {
			t.Fatal(err)
		}
		id := settleOne()
		wait(t, "the process after knows of the outcome", func() bool {
			s, err := after.Status(t.Context(), id)
			return err == nil && s.State == lofn.CallSucceeded
		})
		succeed(t, submitAndTake(t, after))
		after.Abandon()
		second.Close()
		if err := first.TakeBack(t.Context()); err != nil {
			t.Fatal(err)
		}
		settleOne()
		succeed(t, submitAndTake(t, before))
	}
	all, err := before.List(t.Context(), lofn.CallQuery{Limit: 100})
	if err != nil || len(all) != 8 {
		t.Errorf("%d calls are known, %v, want 8", len(all), err)
	}
	for _, s := range all {
		if s.State != lofn.CallSucceeded || s.Attempts != 1 {
			t.Errorf("a call is %+v at the end", s)
		}
	}
}

func submitAndTake(t *testing.T, q *ledger.Ledger) lofn.Delivery {
	t.Helper()
	s, err := q.Enqueue(t.Context(), lofn.Submission{Call: lofn.Call{Function: echo, Method: "POST", Path: "/"}, Body: strings.NewReader("body")})
	if err != nil {
		t.Fatal(err)
	}
	taken, err := q.Take(t.Context(), lofn.Lane{Function: echo}, 10)
	if err != nil || len(taken) != 1 || taken[0].Call().ID != s.ID {
		t.Fatalf("took %d calls, %v, want %s", len(taken), err, s.ID)
	}
	return taken[0]
}

func succeed(t *testing.T, d lofn.Delivery) {
	t.Helper()
	if err := d.Settle(t.Context(), lofn.Settlement{State: lofn.CallSucceeded, Status: 200}); err != nil {
		t.Fatal(err)
	}
}
