// Package queuetest is the specification of lofn.Queue as tests. Every place
// where a queue is kept runs it; internal/queue/mem is the smallest one.
package queuetest

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/queue/ledger"
)

// Storage is where a queue is kept.
type Storage struct {
	// Connect returns the log and the bodies of the queue, as a process that
	// opens it gets them. What it opens it arranges to be released by t.Cleanup.
	Connect func(t *testing.T) (ledger.Log, ledger.Blobs)
	// Interrupt ends the server that keeps the queue without a word and starts
	// it again, nil if there is no such thing.
	Interrupt func(t *testing.T)
}

// Run tests the storages that open returns: a new and empty one each time.
func Run(t *testing.T, open func(t *testing.T) Storage) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Storage)
	}{
		{"a call comes as it was submitted", testSubmission},
		{"an ID that is taken is replaced", testTakenID},
		{"a key makes a repeated submit the same call", testKey},
		{"many submits with one key are one call", testKeyRace},
		{"bounds on the backlog", testBounds},
		{"a bound holds against many at once", testBoundRace},
		{"a call succeeds", testSuccess},
		{"another attempt is made when it is due", testRetry},
		{"a refusal is no attempt", testRefusal},
		{"calls come in the order in which they are due", testOrder},
		{"lanes are apart", testLanes},
		{"Take takes no more than it is to", testTakeMost},
		{"an outcome goes to its callback", testCallback},
		{"a callback is given up", testCallbackGivenUp},
		{"Cancel of a call that waits", testCancelQueued},
		{"Cancel of a call that runs", testCancelRunning},
		{"Cancel of a call that has ended", testCancelEnded},
		{"Redrive and Drop of dead calls", testDead},
		{"Redrive and Drop of others", testNotDead},
		{"List selects", testList},
		{"Counts", testCounts},
		{"Result and Request", testResult},
		{"what is not known", testUnknown},
		{"bodies of any size", testBodies},
		{"a body that breaks off", testBrokenBody},
		{"outcomes expire", testExpiry},
		{"an ended context is an error", testEndedContext},
		{"a queue that was closed is as it was", testReopen},
		{"a process that ends loses nothing", testAbandoned},
		{"each call is leased once", testLeasedOnce},
		{"a key and a bound hold for all processes", testSharedBounds},
		{"Cancel reaches the process that makes the call", testCancelElsewhere},
		{"a silent process loses its calls", testStaleWorker},
		{"a lease lasts as long as the call", testLongCall},
		{"the server ends and comes back", testInterrupted},
		{"every call has exactly one outcome", testHammer},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // some wait for leases to end
			test.run(t, open(t))
		})
	}
}

// timeout is how long a test waits for what must happen.
const timeout = time.Minute

// settings change how a process opens the queue.
type settings func(*ledger.Config)

// open opens the queue as one process would, which ends with the test.
func (s Storage) open(t *testing.T, change ...settings) *ledger.Ledger {
	t.Helper()
	log, blobs := s.Connect(t)
	config := ledger.Config{
		Log: log, Blobs: blobs, Limits: lofn.DefaultQueueLimits, Worker: "worker",
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, set := range change {
		set(&config)
	}
	q, err := ledger.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Abandon)
	return q
}

// shared is for queues that several processes have open.
func shared(c *ledger.Config) { c.Shared = true }

func limits(l lofn.QueueLimits) settings { return func(c *ledger.Config) { c.Limits = l } }

func leaseTime(d time.Duration) settings { return func(c *ledger.Config) { c.LeaseTime = d } }

func ref(name string) lofn.Ref { return lofn.Ref{Namespace: lofn.DefaultNamespace, Name: name} }

func lane(name string) lofn.Lane { return lofn.Lane{Function: ref(name)} }

func callbacks(name string) lofn.Lane { return lofn.Lane{Function: ref(name), Callback: true} }

func submission(function, body string) lofn.Submission {
	return lofn.Submission{Call: lofn.Call{Function: ref(function), Method: http.MethodPost, Path: "/"}, Body: strings.NewReader(body)}
}

func mustEnqueue(t *testing.T, q lofn.Queue, s lofn.Submission) string {
	t.Helper()
	status, err := q.Enqueue(t.Context(), s)
	if err != nil {
		t.Fatalf("Enqueue for %s: %v", s.Function, err)
	}
	if status.ID == "" || status.State != lofn.CallQueued && s.Key == "" {
		t.Fatalf("Enqueue for %s returned %+v", s.Function, status)
	}
	return status.ID
}

// submit enqueues a call with nothing special about it.
func submit(t *testing.T, q lofn.Queue, function string) string {
	t.Helper()
	return mustEnqueue(t, q, submission(function, "body"))
}

// takeAll takes what is due at this moment.
func takeAll(t *testing.T, q lofn.Queue, from lofn.Lane) []lofn.Delivery {
	t.Helper()
	deliveries, err := q.Take(t.Context(), from, 100)
	if err != nil {
		t.Fatalf("Take: %v", err)
	}
	return deliveries
}

// take waits for a delivery, which is to be of the call.
func take(t *testing.T, q lofn.Queue, from lofn.Lane, id string) lofn.Delivery {
	t.Helper()
	var taken []lofn.Delivery
	wait(t, "a call is due", func() bool {
		var err error
		if taken, err = q.Take(t.Context(), from, 1); err != nil {
			t.Fatalf("Take: %v", err)
		}
		return len(taken) == 1
	})
	if got := taken[0].Call().ID; got != id {
		t.Fatalf("took call %s, want %s", got, id)
	}
	return taken[0]
}

func mustSettle(t *testing.T, d lofn.Delivery, s lofn.Settlement) {
	t.Helper()
	if err := d.Settle(t.Context(), s); err != nil {
		t.Fatalf("Settle of %s as %s: %v", d.Call().ID, s.State, err)
	}
}

// succeeded settles with that answer.
func succeeded(t *testing.T, d lofn.Delivery, answer string) {
	t.Helper()
	body := d.Spool()
	if _, err := io.WriteString(body, answer); err != nil {
		t.Fatal(err)
	}
	mustSettle(t, d, lofn.Settlement{State: lofn.CallSucceeded, Status: 200, Header: http.Header{"X-Answer": {"a", "b"}}, Body: body, Started: time.Now()})
}

func mustStatus(t *testing.T, q lofn.Queue, id string) lofn.CallStatus {
	t.Helper()
	s, err := q.Status(t.Context(), id)
	if err != nil {
		t.Fatalf("Status of %s: %v", id, err)
	}
	return s
}

// wantState checks how far a call has come, and returns its status.
func wantState(t *testing.T, q lofn.Queue, id string, want lofn.CallState) lofn.CallStatus {
	t.Helper()
	s := mustStatus(t, q, id)
	if s.State != want || s.ID != id {
		t.Fatalf("call %s is %+v, want it to be %s", id, s, want)
	}
	return s
}

func wantCode(t *testing.T, what string, err error, want lofn.Code) {
	t.Helper()
	if err == nil || lofn.CodeOf(err) != want {
		t.Fatalf("%s: error %v with code %d, want code %d", what, err, lofn.CodeOf(err), want)
	}
}

func wantNone(t *testing.T, q lofn.Queue, from lofn.Lane) {
	t.Helper()
	if taken := takeAll(t, q, from); len(taken) != 0 {
		t.Fatalf("%s (callback: %t) has %d deliveries that are due, want none", from.Function, from.Callback, len(taken))
	}
}

// text reads a body to its end.
func text(t *testing.T, body io.ReadCloser, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	all, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

// answer reads the result of a call.
func answer(t *testing.T, q lofn.Queue, id string) string {
	t.Helper()
	r, err := q.Result(t.Context(), id)
	if err != nil {
		t.Fatalf("Result of %s: %v", id, err)
	}
	return text(t, r.Body, nil)
}

// counts are those of a function.
func counts(q lofn.Queue, function string) (found lofn.QueueCounts) {
	q.Counts(func(r lofn.Ref, c lofn.QueueCounts) {
		if r == ref(function) {
			found = c
		}
	})
	return found
}

// wait waits until a condition holds.
func wait(t *testing.T, what string, condition func() bool) {
	t.Helper()
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !condition() {
		select {
		case <-look.C:
		case <-limit.C:
			t.Fatalf("after %s this does not hold: %s", timeout, what)
		}
	}
}
