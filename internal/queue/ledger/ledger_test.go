package ledger_test

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
	"lofn/internal/queue/ledger"
	"lofn/internal/queue/mem"
)

var echo = lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}

// counted is a log that tells how much is in it, and how often it was trimmed.
type counted struct {
	*mem.Log
	trims int
}

func (c *counted) Trim(ctx context.Context, before uint64) error {
	c.trims++
	return c.Log.Trim(ctx, before)
}

func (c *counted) bytes(t *testing.T) (sum int) {
	t.Helper()
	for r, err := range c.Read(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		sum += len(r.Data)
	}
	return sum
}

func submit(t *testing.T, q lofn.Queue, body string) string {
	t.Helper()
	s, err := q.Enqueue(t.Context(), lofn.Submission{
		Call: lofn.Call{Function: echo, Method: "PUT", Path: "/a%2Fb", Query: "c=d", Host: "h", Remote: "1.2.3.4:5", Callback: "http://callback/",
			Header: map[string][]string{"X-One": {"1"}, "X-Two": {"2", "3"}}},
		Body: strings.NewReader(body), Key: body[:min(len(body), 20)],
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.ID
}

func take(t *testing.T, q lofn.Queue, callback bool) lofn.Delivery {
	t.Helper()
	ds, err := q.Take(t.Context(), lofn.Lane{Function: echo, Callback: callback}, 1)
	if err != nil || len(ds) != 1 {
		t.Fatalf("took %d deliveries (%v)", len(ds), err)
	}
	return ds[0]
}

func settle(t *testing.T, d lofn.Delivery, s lofn.Settlement, answer string) {
	t.Helper()
	if answer != "" {
		s.Body = d.Spool()
		if _, err := io.WriteString(s.Body, answer); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Settle(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// TestALogIsCleaned: what is still wanted of the beginning of a long log is
// copied, so that the rest can be dropped, and nobody notices.
func TestALogIsCleaned(t *testing.T) { synctest.Test(t, aLogIsCleaned) }

func aLogIsCleaned(t *testing.T) {
	log, blobs := &counted{Log: mem.NewLog()}, mem.NewBlobs()
	const above = 40 << 10
	config := ledger.Config{Log: log, Blobs: blobs, Worker: "w", CleanAbove: above,
		Limits: lofn.QueueLimits{Backlog: 1e6, FunctionBacklog: 1e6, Keep: time.Hour, KeepCount: 50}}
	q, err := ledger.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	// One in each state, from the very beginning.
	dead, retried, succeeded, running, notified := submit(t, q, "dead"), submit(t, q, "retried"), submit(t, q, "succeeded"), submit(t, q, "running"), submit(t, q, "notified")
	settle(t, take(t, q, false), lofn.Settlement{State: lofn.CallDead, Status: 500, Reason: "it died"}, "last words")
	settle(t, take(t, q, false), lofn.Settlement{State: lofn.CallQueued, Due: time.Now().Add(30 * time.Minute), Status: 503, Reason: "try later"}, "")
	settle(t, take(t, q, false), lofn.Settlement{State: lofn.CallSucceeded, Status: 200, Started: time.Now(), Header: map[string][]string{"A": {"b"}}}, "done")
	d := take(t, q, false)
	settle(t, take(t, q, false), lofn.Settlement{State: lofn.CallFailed, Status: 400}, "no")
	settle(t, take(t, q, true), lofn.Settlement{State: lofn.CallSucceeded, Status: 204}, "")
	settle(t, take(t, q, true), lofn.Settlement{State: lofn.CallQueued, Due: time.Now().Add(20 * time.Minute), Status: 502, Reason: "callback is away"}, "")
	settle(t, take(t, q, true), lofn.Settlement{State: lofn.CallFailed, Status: 404, Reason: "no such callback"}, "")
	old := []string{dead, retried, succeeded, running, notified}
	before := statuses(t, q, old)

	// The bound on outcomes would forget two of them otherwise.
	for i := range 40 {
		submit(t, q, strings.Repeat(string(rune('0'+i)), 5000))
		settle(t, take(t, q, false), lofn.Settlement{State: lofn.CallSucceeded, Status: 200}, "ok")
		settle(t, take(t, q, true), lofn.Settlement{State: lofn.CallSucceeded, Status: 200}, "")
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	if log.trims == 0 || log.bytes(t) > 2*above {
		t.Errorf("the log has %d bytes after %d trims", log.bytes(t), log.trims)
	}
	if after := statuses(t, q, old); !slices.Equal(after, before) {
		t.Errorf("after cleaning:\n%s\nbefore:\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
	q.Abandon()

	// The next process finds the same.
	next, err := ledger.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Abandon()
	if after := statuses(t, next, old); !slices.Equal(after, before) {
		t.Errorf("after a restart:\n%s\nbefore:\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
	if err := d.Settle(t.Context(), lofn.Settlement{State: lofn.CallSucceeded}); lofn.CodeOf(err) != lofn.Unavailable {
		t.Errorf("a queue that was closed settled: %v", err)
	}
	if _, err := next.Redrive(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	again := take(t, next, false)
	body, err := again.Body(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(body)
	c := again.Call()
	if string(text) != "dead" || c.Method != "PUT" || c.Path != "/a%2Fb" || c.Query != "c=d" || c.Host != "h" || c.Remote != "1.2.3.4:5" || !slices.Equal(c.Header["X-Two"], []string{"2", "3"}) {
		t.Errorf("redriven as %+v with %q", c, text)
	}
	same, err := next.Enqueue(t.Context(), lofn.Submission{Call: lofn.Call{Function: echo, Method: "PUT", Path: "/a%2Fb", Query: "c=d"}, Body: strings.NewReader("succeeded"), Key: "succeeded"})
	if err != nil || same.ID != succeeded {
		t.Errorf("the same key: %+v (%v), want %s", same, err, succeeded)
	}
}

// statuses are those of the calls, a line of JSON for each.
func statuses(t *testing.T, q lofn.Queue, ids []string) (all []string) {
	t.Helper()
	for _, id := range ids {
		s, err := q.Status(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(line))
	}
	return all
}

// TestALaneIsDueWhenItsCallsAre: nobody has to ask in vain.
func TestALaneIsDueWhenItsCallsAre(t *testing.T) { synctest.Test(t, aLaneIsDue) }

func aLaneIsDue(t *testing.T) {
	due := make(chan lofn.Lane, 100)
	q, err := mem.New(lofn.DefaultQueueLimits, func(l lofn.Lane) { due <- l })
	if err != nil {
		t.Fatal(err)
	}
	defer q.Abandon()
	begin := time.Now()
	next := func(what string, after time.Duration, lane lofn.Lane) {
		t.Helper()
		if got := <-due; got != lane || time.Since(begin) != after {
			t.Errorf("%s: %v is due after %v, want %v after %v", what, got, time.Since(begin), lane, after)
		}
	}
	calls, callbacks := lofn.Lane{Function: echo}, lofn.Lane{Function: echo, Callback: true}
	submit(t, q, "a")
	next("accepted", 0, calls)
	settle(t, take(t, q, false), lofn.Settlement{State: lofn.CallQueued, Due: begin.Add(time.Minute)}, "")
	if ds, err := q.Take(t.Context(), calls, 1); len(ds) > 0 || err != nil {
		t.Errorf("took %d that are not due (%v)", len(ds), err)
	}
	next("retried", time.Minute, calls)
	settle(t, take(t, q, false), lofn.Settlement{State: lofn.CallFailed, Status: 400}, "")
	next("settled", time.Minute, callbacks)
	settle(t, take(t, q, true), lofn.Settlement{State: lofn.CallQueued, Due: begin.Add(time.Hour)}, "")
	next("callback retried", time.Hour, callbacks)
}
