package ledger_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
	"lofn/internal/queue/ledger"
	"lofn/internal/queue/mem"
)

// flaky is a log whose appends go wrong in every way that the interface knows.
type flaky struct {
	*mem.Log
	mu   sync.Mutex
	rand *rand.Rand
	// late are appends that were not confirmed and have not arrived yet.
	late []func()
}

var errNoAnswer = errors.New("no answer")

func (f *flaky) Append(ctx context.Context, after uint64, data []byte, urgent bool) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, arrive := range f.late {
		arrive()
	}
	f.late = nil
	switch f.rand.IntN(20) {
	case 0:
		return 0, lofn.Errorf(lofn.Full, "no room")
	case 1:
		return 0, lofn.Errorf(lofn.Unavailable, "not connected")
	case 2: // it was lost on its way
		return 0, errNoAnswer
	case 3: // its answer was
		_, _ = f.Log.Append(ctx, after, data, urgent)
		return 0, errNoAnswer
	case 4: // it is still on its way
		f.late = append(f.late, func() { _, _ = f.Log.Append(ctx, after, data, urgent) })
		return 0, errNoAnswer
	}
	return f.Log.Append(ctx, after, data, urgent)
}

// Read breaks off now and then.
func (f *flaky) Read(ctx context.Context, from uint64) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		f.mu.Lock()
		left := f.rand.IntN(5)
		if f.rand.IntN(3) > 0 {
			left = -1 // to the end
		}
		f.mu.Unlock()
		for r, err := range f.Log.Read(ctx, from) {
			if left == 0 {
				yield(ledger.Record{}, errNoAnswer)
				return
			}
			if left--; !yield(r, err) {
				return
			}
		}
	}
}

func open(t *testing.T, log ledger.Log, blobs ledger.Blobs, name string) *ledger.Ledger {
	t.Helper()
	for {
		q, err := ledger.Open(t.Context(), ledger.Config{
			Log: log, Blobs: blobs, Limits: lofn.DefaultQueueLimits, Worker: name, Shared: true, CleanAbove: 8 << 10, LeaseTime: 4 * time.Second,
		})
		if err == nil {
			return q
		}
		if !errors.Is(err, errNoAnswer) {
			t.Fatal(err)
		}
	}
}

// TestALogThatFails has three processes share a log that fails in every way. At
// the end each accepted call has exactly one outcome, which nobody ever saw
// change, and all processes agree.
func TestALogThatFails(t *testing.T) { synctest.Test(t, aLogThatFails) }

func aLogThatFails(t *testing.T) {
	log, blobs := &flaky{Log: mem.NewLog(), rand: rand.New(rand.NewPCG(1, 2))}, mem.NewBlobs()
	const calls = 3000
	var (
		mu       sync.Mutex
		accepted = make(map[string]bool)
		settled  = make(map[string]int)
		work     sync.WaitGroup
	)
	submitted := make(chan struct{})
	handles := []*ledger.Ledger{open(t, log, blobs, "a"), open(t, log, blobs, "b"), open(t, log, blobs, "c")}
	var submitting sync.WaitGroup
	for _, q := range handles {
		for range 2 {
			submitting.Go(func() {
				for range calls / 6 {
					s, err := q.Enqueue(t.Context(), lofn.Submission{Call: lofn.Call{Function: echo, Method: "POST", Path: "/"}, Body: strings.NewReader(strings.Repeat("x", 300))})
					if err == nil {
						mu.Lock()
						accepted[s.ID] = true
						mu.Unlock()
					}
				}
			})
		}
		for range 2 {
			work.Go(func() { worker(t, q, submitted, settled, &mu) })
		}
	}
	submitting.Wait()
	close(submitted)
	work.Wait()
	if len(accepted) < calls/2 {
		t.Fatalf("only %d of %d calls were accepted", len(accepted), calls)
	}
	for id := range accepted {
		if settled[id] != 1 {
			t.Errorf("call %s was settled %d times", id, settled[id])
		}
	}
	last := open(t, log.Log, blobs, "d")
	for id := range accepted {
		if s, err := last.Status(t.Context(), id); err != nil || s.State != lofn.CallSucceeded {
			t.Errorf("call %s: %+v (%v)", id, s, err)
		}
	}
	for _, q := range append(handles, last) {
		_ = q.Close(t.Context())
	}
}

// worker makes calls until all are submitted and none is left.
func worker(t *testing.T, q *ledger.Ledger, submitted chan struct{}, settled map[string]int, mu *sync.Mutex) {
	for {
		deliveries, err := q.Take(t.Context(), lofn.Lane{Function: echo}, 3)
		for _, d := range deliveries {
			body, err := d.Body(t.Context())
			if err != nil {
				t.Error(err)
				continue
			}
			if text, err := io.ReadAll(body); err != nil || len(text) != 300 {
				t.Errorf("body of %d bytes (%v)", len(text), err)
			}
			settlement := lofn.Settlement{State: lofn.CallSucceeded, Status: 200}
			if d.Status().Attempts == 1 && d.Call().ID[0] < '4' {
				settlement = lofn.Settlement{State: lofn.CallQueued, Due: time.Now(), Reason: "once more"}
			}
			if err := d.Settle(t.Context(), settlement); err == nil && settlement.State == lofn.CallSucceeded {
				mu.Lock()
				settled[d.Call().ID]++
				mu.Unlock()
			}
		}
		if err == nil && len(deliveries) > 0 {
			continue
		}
		select {
		case <-submitted:
			if q.Backlog(echo) == 0 {
				return
			}
			time.Sleep(10 * time.Millisecond) // others have the rest
		default:
			time.Sleep(time.Millisecond)
		}
	}
}
