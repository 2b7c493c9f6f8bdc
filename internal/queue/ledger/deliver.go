package ledger

import (
	"container/heap"
	"context"
	"io"
	"net/http"
	"time"

	"lofn"
)

// maxTake bounds how many calls are leased at once.
const maxTake = 1000

// Take implements lofn.Queue.
func (l *Ledger) Take(ctx context.Context, lane lofn.Lane, most int) ([]lofn.Delivery, error) {
	var taken []*delivery
	o := &op{plan: func(p *page) error {
		taken = l.choose(p, lane, min(most, maxTake))
		return nil
	}}
	if err := l.do(ctx, o); err != nil {
		// What was leased after all comes back when this process is silent, so
		// it must not be kept alive by the others.
		if _, unknown := err.(*unknownError); unknown {
			go func() {
				if <-o.done; o.err == nil {
					l.giveBack(taken)
				}
			}()
		}
		return nil, err
	}
	deliveries := make([]lofn.Delivery, 0, len(taken))
	for i, d := range taken {
		if err := d.load(ctx); err != nil {
			go l.giveBack(taken[i:])
			return deliveries, err
		}
		deliveries = append(deliveries, d)
	}
	return deliveries, nil
}

// choose plans to lease calls that are due.
func (l *Ledger) choose(p *page, at lofn.Lane, most int) (taken []*delivery) {
	f := l.state.functions[at.Function]
	if f == nil {
		return nil
	}
	lane, now := f.lane(at.Callback), time.Now()
	e := &leased{worker: l.worker, at: now.UnixNano(), callback: at.Callback}
	var touched []*call
	for len(taken) < most && len(lane.calls) > 0 && lane.calls[0].due() <= e.at {
		c := heap.Pop(lane).(*call)
		if p.touches(c.id) {
			touched = append(touched, c)
			continue
		}
		p.taken = append(p.taken, c)
		e.ids = append(e.ids, c.id)
		d := l.deliver(c, at.Callback, now)
		l.state.mine[c] = d
		taken = append(taken, d)
	}
	l.unplan(touched)
	l.state.alarm(lane)
	if len(taken) > 0 {
		p.add(e, e.ids...)
	}
	return taken
}

// deliver makes the delivery of a call that is about to be leased. It becomes
// the call's own when the lease is written.
func (l *Ledger) deliver(c *call, callback bool, now time.Time) *delivery {
	d := &delivery{ledger: l, of: c, callback: callback, worker: l.worker}
	d.context, d.cancel = context.WithCancelCause(context.Background())
	if c.stop && !callback {
		d.cancel(lofn.ErrCancelled) // while nobody had it
	}
	d.status = l.status(c)
	if callback {
		d.status.Callback.Attempts++
	} else {
		d.status.Attempts++
		d.status.State = lofn.CallRunning
		d.status.StartedAt = &now
	}
	return d
}

// giveBack ends leases on deliveries that nobody makes.
func (l *Ledger) giveBack(taken []*delivery) {
	for _, d := range taken {
		_ = d.Settle(context.Background(), lofn.Settlement{State: lofn.CallQueued, Due: time.Now(), Refused: true, Reason: "the call could not be read"})
	}
}

// delivery is a lease of this process.
type delivery struct {
	ledger   *Ledger
	of       *call
	callback bool
	worker   string
	call     lofn.Call
	small    []byte
	blob     string
	status   lofn.CallStatus
	context  context.Context
	cancel   context.CancelCauseFunc
	result   *settled // of a callback
}

// load reads what is to be delivered.
func (d *delivery) load(ctx context.Context) error {
	if d.callback {
		e, err := d.ledger.outcome(ctx, d.status.ID)
		if err != nil {
			return err
		}
		d.result = e
		d.call = lofn.Call{ID: e.id, Function: e.function, Callback: e.callback, Accepted: moment(e.accepted)}
		return nil
	}
	request, err := d.ledger.request(ctx, d.status.ID)
	if err != nil {
		return err
	}
	d.blob = request.blob
	d.call, d.small, err = request.call()
	return err
}

// Call implements lofn.Delivery.
func (d *delivery) Call() lofn.Call { return d.call }

// Status implements lofn.Delivery.
func (d *delivery) Status() lofn.CallStatus { return d.status }

// Context implements lofn.Delivery.
func (d *delivery) Context() context.Context { return d.context }

// Body implements lofn.Delivery.
func (d *delivery) Body(ctx context.Context) (io.ReadCloser, error) {
	return d.ledger.open(ctx, d.small, d.blob)
}

// Result implements lofn.Delivery.
func (d *delivery) Result(ctx context.Context) (lofn.Result, error) {
	return d.ledger.result(ctx, d.result)
}

// Spool implements lofn.Delivery.
func (d *delivery) Spool() lofn.Spool {
	return &spool{ctx: d.context, blobs: d.ledger.Blobs}
}

// Settle implements lofn.Delivery.
func (d *delivery) Settle(ctx context.Context, s lofn.Settlement) error {
	defer d.cancel(nil)
	body, _ := s.Body.(*spool)
	if s.State == lofn.CallQueued || d.callback {
		body.discard()
		body = nil
	}
	blob, err := body.commit()
	if err != nil {
		body.discard()
		return err
	}
	s.Reason = s.Reason[:min(len(s.Reason), maxReason)]
	err = d.ledger.do(ctx, &op{firm: true, plan: func(p *page) error {
		if p.touches(d.of.id) {
			return errLater
		}
		if !d.current() {
			return errLeaseLost
		}
		p.add(d.step(s, body, blob), d.of.id)
		return nil
	}})
	if err != nil && blob != "" {
		if _, unknown := err.(*unknownError); !unknown {
			d.ledger.removeBlobs([]string{blob})
		}
	}
	return err
}

// maxReason bounds a reason, in bytes.
const maxReason = 4 << 10

// current reports whether the lease is still this delivery's.
func (d *delivery) current() bool {
	return d.of.lease != nil && d.of.lease.name == d.worker && d.ledger.state.mine[d.of] == d
}

// step is the entry that a settlement makes.
func (d *delivery) step(s lofn.Settlement, body *spool, blob string) entry {
	now := time.Now()
	switch {
	case d.callback:
		return d.notified(s)
	case s.State == lofn.CallQueued && d.of.stop:
		// Called off while it ran, though the function did not notice.
		s.State, s.Reason, s.Status, s.Body = lofn.CallCancelled, "cancelled while it was running", 0, nil
	case s.State == lofn.CallQueued:
		return &retried{id: d.of.id, at: now.UnixNano(), due: instant(s.Due), refused: s.Refused, status: s.Status, reason: s.Reason}
	}
	e := d.of.settled(s.State, now)
	e.status, e.reason = s.Status, s.Reason
	if !s.Started.IsZero() {
		e.started = instant(s.Started)
	}
	if s.Body != nil {
		e.answer(s.Header, body, blob)
	}
	return e
}

func (d *delivery) notified(s lofn.Settlement) entry {
	n := &notified{id: d.of.id, state: lofn.CallbackDelivered, status: s.Status, reason: s.Reason}
	switch s.State {
	case lofn.CallQueued:
		n.state, n.due = lofn.CallbackPending, instant(s.Due)
	case lofn.CallFailed:
		n.state = lofn.CallbackFailed
	}
	return n
}

// settled is the outcome of a call, without an answer.
func (c *call) settled(state lofn.CallState, now time.Time) *settled {
	e := &settled{
		id: c.id, function: c.function.ref, state: state, accepted: c.accepted, key: c.known().key, print: c.known().print,
		attempts: uint64(c.attempts), started: c.started, ended: now.UnixNano(),
	}
	if n := c.notice(); n != nil {
		e.callback = n.url
		e.notice = notice{state: lofn.CallbackPending, due: e.ended}
	}
	return e
}

// maxHeader bounds the header of an answer that is kept, in bytes.
const maxHeader = 256 << 10

// answer puts the function's answer into an outcome.
func (s *settled) answer(header http.Header, body *spool, blob string) {
	s.answered, s.blob = true, blob
	var small []byte
	if body != nil {
		s.size = body.size
		small = body.small
	}
	if s.result = appendBytes(appendHeader(nil, header), small); len(s.result) > maxHeader {
		s.result = appendBytes(appendHeader(nil, nil), small)
		s.reason = "the headers of the answer were too large to keep"
	}
}
