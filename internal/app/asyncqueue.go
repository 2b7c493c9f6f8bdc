package app

import (
	"context"
	"sync"

	"lofn"
	"lofn/internal/queue/ledger"
)

// lateQueue is a queue that may not be open yet: a server elsewhere that is down
// must not keep the rest of the platform from serving. What is asked of it then
// fails, and nothing is lost.
type lateQueue struct {
	mu    sync.RWMutex
	queue *ledger.Ledger // nil until it is open
	why   error
}

func newLateQueue() *lateQueue {
	return &lateQueue{why: lofn.Errorf(lofn.Unavailable, "the queue of asynchronous calls is not open yet: try again in a moment")}
}

// attach opens it for use.
func (l *lateQueue) attach(q *ledger.Ledger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = q
}

// excuse says why it is not open yet.
func (l *lateQueue) excuse(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why = lofn.Errorf(lofn.Unavailable, "asynchronous calls are not possible at the moment: %w", err)
}

func (l *lateQueue) current() (*ledger.Ledger, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.queue == nil {
		return nil, l.why
	}
	return l.queue, nil
}

// Enqueue implements lofn.Queue.
func (l *lateQueue) Enqueue(ctx context.Context, s lofn.Submission) (lofn.CallStatus, error) {
	q, err := l.current()
	if err != nil {
		return lofn.CallStatus{}, err
	}
	return q.Enqueue(ctx, s)
}

// Status implements lofn.Queue.
func (l *lateQueue) Status(ctx context.Context, id string) (lofn.CallStatus, error) {
	q, err := l.current()
	if err != nil {
		return lofn.CallStatus{}, err
	}
	return q.Status(ctx, id)
}

// Request implements lofn.Queue.
func (l *lateQueue) Request(ctx context.Context, id string) (lofn.Call, error) {
	q, err := l.current()
	if err != nil {
		return lofn.Call{}, err
	}
	return q.Request(ctx, id)
}

// Result implements lofn.Queue.
func (l *lateQueue) Result(ctx context.Context, id string) (lofn.Result, error) {
	q, err := l.current()
	if err != nil {
		return lofn.Result{}, err
	}
	return q.Result(ctx, id)
}

// List implements lofn.Queue.
func (l *lateQueue) List(ctx context.Context, query lofn.CallQuery) ([]lofn.CallStatus, error) {
	q, err := l.current()
	if err != nil {
		return nil, err
	}
	return q.List(ctx, query)
}

// Counts implements lofn.Queue.
func (l *lateQueue) Counts(yield func(lofn.Ref, lofn.QueueCounts)) error {
	q, err := l.current()
	if err != nil {
		return err
	}
	return q.Counts(yield)
}

// Cancel implements lofn.Queue.
func (l *lateQueue) Cancel(ctx context.Context, id string) (lofn.CallStatus, error) {
	q, err := l.current()
	if err != nil {
		return lofn.CallStatus{}, err
	}
	return q.Cancel(ctx, id)
}

// Redrive implements lofn.Queue.
func (l *lateQueue) Redrive(ctx context.Context, id string) (lofn.CallStatus, error) {
	q, err := l.current()
	if err != nil {
		return lofn.CallStatus{}, err
	}
	return q.Redrive(ctx, id)
}

// Drop implements lofn.Queue.
func (l *lateQueue) Drop(ctx context.Context, id string) error {
	q, err := l.current()
	if err != nil {
		return err
	}
	return q.Drop(ctx, id)
}

// Take implements lofn.Queue.
func (l *lateQueue) Take(ctx context.Context, lane lofn.Lane, most int) ([]lofn.Delivery, error) {
	q, err := l.current()
	if err != nil {
		return nil, err
	}
	return q.Take(ctx, lane, most)
}

// backlog is how many calls of a function wait or run.
func (l *lateQueue) backlog(ref lofn.Ref) int {
	q, err := l.current()
	if err != nil {
		return 0
	}
	return q.Backlog(ref)
}
