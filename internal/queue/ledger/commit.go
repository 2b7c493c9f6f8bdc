package ledger

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"lofn"
)

// op is something that is to be written to the log.
type op struct {
	// plan adds its entries to the page, or fails. It must change nothing else,
	// and may be called again if the page was not written after all. errLater
	// puts it off to the next page.
	plan func(*page) error
	// firm ones are tried until they are written, others fail where there is no
	// room.
	firm bool
	// roomy ones take room for good.
	roomy bool

	err  error
	done chan struct{}
	// progress is 0 while it waits, and settles whether the committer has it or
	// its caller has given up.
	progress atomic.Int32
}

const (
	opTaken     = 1
	opAbandoned = 2
)

var errLater = errors.New("later")

// errStopped answers what comes after the end.
var errStopped = &lofn.Error{Code: lofn.Unavailable, Text: "the queue is closed: lofn is being stopped or upgraded, try again in a moment"}

// do has an op written and waits for it. If ctx ends before the committer has
// taken it, nothing is written; after that nobody knows yet.
func (l *Ledger) do(ctx context.Context, o *op) error {
	o.done = make(chan struct{})
	if !l.queue.put(o) {
		return errStopped
	}
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
	}
	if o.progress.CompareAndSwap(0, opAbandoned) {
		return lofn.Errorf(lofn.DeadlineExceeded, "the queue had no time for it: %w", context.Cause(ctx))
	}
	select {
	case <-o.done:
		return o.err
	default:
		return &unknownError{lofn.Errorf(lofn.DeadlineExceeded, "the queue did not confirm it in time, so it is not known whether it was written: %w", context.Cause(ctx))}
	}
}

// unknownError says that something may have been written.
type unknownError struct{ error }

func (e *unknownError) Unwrap() error { return e.error }

func (o *op) end(err error) {
	o.err = err
	close(o.done)
}

// opQueue is where ops wait for the committer.
type opQueue struct {
	mu     sync.Mutex
	ops    []*op
	closed bool
	more   chan struct{}
}

func newOpQueue() *opQueue { return &opQueue{more: make(chan struct{}, 1)} }

func (q *opQueue) put(o *op) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.ops = append(q.ops, o)
	select {
	case q.more <- struct{}{}:
	default:
	}
	return true
}

func (q *opQueue) all() []*op {
	q.mu.Lock()
	defer q.mu.Unlock()
	ops := q.ops
	q.ops = nil
	return ops
}

func (q *opQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	end(q.all(), errStopped)
}

// run writes what there is to be written until ctx ends.
func (l *Ledger) run(ctx context.Context) {
	defer close(l.done)
	defer l.queue.close()
	tick := time.NewTicker(min(time.Second, l.LeaseTime/4))
	defer tick.Stop()
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	for {
		l.tell(alarm)
		select {
		case <-ctx.Done():
			return
		case <-l.queue.more:
			l.commit(ctx, l.queue.all())
		case <-alarm.C:
		case <-tick.C:
			l.tend(ctx)
		}
	}
}

// tell passes on what has become due, and sets the alarm for what will be.
func (l *Ledger) tell(alarm *time.Timer) {
	l.mu.Lock()
	now := time.Now().UnixNano()
	next := l.state.ring(now)
	var due []lofn.Lane
	for lane := range l.state.due {
		due = append(due, lane.Lane)
	}
	clear(l.state.due)
	garbage := l.state.garbage
	l.state.garbage = nil
	l.mu.Unlock()
	if next != 0 {
		alarm.Reset(time.Duration(next - now))
	} else {
		alarm.Stop()
	}
	for _, lane := range due {
		l.Due(lane)
	}
	if len(garbage) > 0 {
		go l.removeBlobs(garbage)
	}
}

func (l *Ledger) removeBlobs(names []string) {
	for _, name := range names {
		if err := l.Blobs.Remove(context.Background(), name); err != nil {
			l.Logger.Warn("queue: a body that nobody needs stays until the next start", "name", name, "error", err)
		}
	}
}

// commit writes ops in as few pages as it can.
func (l *Ledger) commit(ctx context.Context, ops []*op) {
	for len(ops) > 0 && ctx.Err() == nil {
		p := newPage(title{writer: l.worker, number: l.written + 1, at: time.Now().UnixNano()})
		planned, later := l.plan(p, ops)
		if len(p.steps) == 0 {
			end(planned, nil)
			ops = later
			continue
		}
		switch err := l.write(ctx, p); {
		case err == nil:
			end(planned, nil)
			ops = later
		case errors.Is(err, ErrBehind):
			// Somebody else wrote: what was planned may not be right any more.
			ops = append(planned, later...)
		default:
			ops = append(l.refuse(ctx, planned, err), later...)
		}
	}
	end(ops, errStopped)
}

func end(ops []*op, err error) {
	for _, o := range ops {
		o.end(err)
	}
}

// plan puts as many ops on the page as it can. Those that failed are ended.
func (l *Ledger) plan(p *page, ops []*op) (planned, later []*op) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, o := range ops {
		if o.progress.CompareAndSwap(0, opTaken) || o.progress.Load() == opTaken {
			before := p.mark()
			err := o.plan(p)
			if err == nil && len(p.data) > MaxRecordSize && before.steps > 0 {
				l.unplan(p.back(before))
				return planned, append(later, ops[i:]...)
			}
			switch {
			case err == errLater:
				later = append(later, o)
			case err != nil:
				l.unplan(p.back(before))
				o.end(err)
			default:
				planned = append(planned, o)
				p.urgent = p.urgent && !o.roomy
			}
		}
	}
	return planned, later
}

// unplan puts calls back into their lanes that were taken out for a page.
func (l *Ledger) unplan(calls []*call) {
	for _, c := range calls {
		delete(l.state.mine, c)
		l.state.line(c)
	}
}

// refuse decides what becomes of ops that could not be written: the firm ones
// are returned, after a while.
func (l *Ledger) refuse(ctx context.Context, ops []*op, err error) (again []*op) {
	for _, o := range ops {
		if o.firm {
			again = append(again, o)
		} else {
			o.end(err)
		}
	}
	if len(again) == len(ops) {
		l.Logger.Warn("queue: what became of calls cannot be written down, trying again", "calls", len(ops), "error", err)
		select {
		case <-time.After(writePause):
		case <-ctx.Done():
		}
	}
	return again
}

// writePause is between attempts to write what must be written.
const writePause = time.Second
