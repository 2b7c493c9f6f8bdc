package ledger

import (
	"cmp"
	"context"
	"slices"
	"time"

	"lofn"
)

func unknown(id string) error {
	return lofn.Errorf(lofn.NotFound, "call %q is not known: it never was, or its outcome has expired", id)
}

// call returns a call. The lock must be held.
func (l *Ledger) call(id string) (*call, error) {
	if c := l.state.calls[id]; c != nil {
		return c, nil
	}
	return nil, unknown(id)
}

// request reads the request of a call.
func (l *Ledger) request(ctx context.Context, id string) (*accepted, error) {
	e, err := l.lookup(ctx, func() (place, error) {
		l.mu.RLock()
		defer l.mu.RUnlock()
		c, err := l.call(id)
		if err == nil && c.request.none() {
			err = lofn.Errorf(lofn.NotFound, "the request of call %s is not kept any more: it is %s", id, c.state())
		}
		if err != nil {
			return place{}, err
		}
		return c.request, nil
	})
	if err != nil {
		return nil, err
	}
	a, ok := e.(*accepted)
	if !ok {
		return nil, errCorrupt
	}
	return a, nil
}

// outcome reads the outcome of a call.
func (l *Ledger) outcome(ctx context.Context, id string) (*settled, error) {
	e, err := l.lookup(ctx, func() (place, error) {
		l.mu.RLock()
		defer l.mu.RUnlock()
		c, err := l.call(id)
		if err == nil && c.outcome.none() {
			err = lofn.Errorf(lofn.Conflict, "call %s has no outcome yet: it is %s", id, c.state())
		}
		if err != nil {
			return place{}, err
		}
		return c.outcome, nil
	})
	if err != nil {
		return nil, err
	}
	s, ok := e.(*settled)
	if !ok {
		return nil, errCorrupt
	}
	return s, nil
}

// status is what is known of a call without the log. The lock must be held.
func (l *Ledger) status(c *call) lofn.CallStatus {
	known := c.known()
	s := lofn.CallStatus{
		ID: c.id, Function: c.function.counts.Function, State: c.state(), Attempts: int(c.attempts), AcceptedAt: moment(c.accepted),
		Status: known.status, Reason: known.reason, StartedAt: optional(c.started),
	}
	if !c.state().Final() {
		s.RefusedSince = optional(known.refusedSince)
	}
	if c.state() == lofn.CallQueued {
		s.NextAt = optional(c.next)
	}
	if c.expires > 0 {
		s.ExpiresAt = optional(c.expires)
	}
	if n := known.notice; n != nil {
		s.Callback = &lofn.CallbackStatus{URL: n.url, State: n.state, Attempts: int(n.attempts), Status: n.status, Reason: n.reason}
		if n.state == lofn.CallbackPending && c.lease == nil {
			s.Callback.NextAt = optional(n.due)
		}
	}
	return s
}

func optional(nanos int64) *time.Time {
	if nanos == 0 {
		return nil
	}
	t := moment(nanos)
	return &t
}

// Status implements lofn.Queue.
func (l *Ledger) Status(ctx context.Context, id string) (lofn.CallStatus, error) {
	for {
		l.mu.RLock()
		c, err := l.call(id)
		if err != nil {
			l.mu.RUnlock()
			return lofn.CallStatus{}, err
		}
		s := l.status(c)
		l.mu.RUnlock()
		if !s.State.Final() {
			return s, nil
		}
		e, err := l.outcome(ctx, id)
		if lofn.CodeOf(err) == lofn.Conflict {
			continue // redriven meanwhile
		}
		if err != nil {
			return lofn.CallStatus{}, err
		}
		e.complete(&s)
		return s, nil
	}
}

// complete adds to a status what only the outcome's entry tells.
func (s *settled) complete(to *lofn.CallStatus) {
	to.Status, to.Reason = s.status, s.reason
	to.StartedAt, to.EndedAt = optional(s.started), optional(s.ended)
	to.ResultSize = nil
	if s.answered {
		to.ResultSize = &s.size
	}
}

// Request implements lofn.Queue.
func (l *Ledger) Request(ctx context.Context, id string) (lofn.Call, error) {
	l.mu.RLock()
	c, err := l.call(id)
	if err != nil {
		l.mu.RUnlock()
		return lofn.Call{}, err
	}
	bare := lofn.Call{ID: id, Function: c.function.ref, Accepted: moment(c.accepted)}
	l.mu.RUnlock()
	request, err := l.request(ctx, id)
	if lofn.CodeOf(err) == lofn.NotFound {
		return bare, nil
	}
	if err != nil {
		return lofn.Call{}, err
	}
	call, _, err := request.call()
	return call, err
}

// Result implements lofn.Queue.
func (l *Ledger) Result(ctx context.Context, id string) (lofn.Result, error) {
	e, err := l.outcome(ctx, id)
	if err != nil {
		return lofn.Result{}, err
	}
	return l.result(ctx, e)
}

func (l *Ledger) result(ctx context.Context, e *settled) (lofn.Result, error) {
	if !e.answered {
		return lofn.Result{}, lofn.Errorf(lofn.NotFound, "call %s has no result: it is %s: %s", e.id, e.state, cmp.Or(e.reason, "nothing was answered"))
	}
	header, small, err := e.content()
	if err != nil {
		return lofn.Result{}, err
	}
	body, err := l.open(ctx, small, e.blob)
	if err != nil {
		return lofn.Result{}, err
	}
	duration := time.Duration(max(e.ended-e.started, 0))
	return lofn.Result{Status: e.status, Header: header, Size: e.size, Body: body, Duration: duration}, nil
}

// List implements lofn.Queue.
func (l *Ledger) List(ctx context.Context, q lofn.CallQuery) ([]lofn.CallStatus, error) {
	found := l.match(q)
	all := make([]lofn.CallStatus, 0, len(found))
	for _, id := range found {
		s, err := l.Status(ctx, id)
		if lofn.CodeOf(err) == lofn.NotFound {
			continue // gone meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// match returns the ids of the calls that a query selects, the oldest first.
func (l *Ledger) match(q lofn.CallQuery) []string {
	type hit struct {
		id string
		at int64
	}
	var hits []hit
	l.mu.RLock()
	for id, c := range l.state.calls {
		ref := c.function.ref
		if (q.Namespace == "" || q.Namespace == ref.Namespace) && (q.Name == "" || q.Name == ref.Name) &&
			(len(q.States) == 0 || slices.Contains(q.States, c.state())) {
			hits = append(hits, hit{id, c.accepted})
		}
	}
	l.mu.RUnlock()
	slices.SortFunc(hits, func(a, b hit) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id)) })
	if q.Limit > 0 && len(hits) > q.Limit {
		hits = hits[:q.Limit]
	}
	ids := make([]string, len(hits))
	for i, h := range hits {
		ids[i] = h.id
	}
	return ids
}

// Counts implements lofn.Queue.
func (l *Ledger) Counts(yield func(lofn.Ref, lofn.QueueCounts)) error {
	now := time.Now()
	l.mu.Lock() // for what a function remembers of its oldest call
	all := make([]lofn.QueueCounts, 0, len(l.state.functions))
	refs := make([]lofn.Ref, 0, len(l.state.functions))
	for ref, f := range l.state.functions {
		counts := f.counts
		counts.Oldest = optional(f.oldest(now))
		all, refs = append(all, counts), append(refs, ref)
	}
	l.mu.Unlock()
	for i, counts := range all {
		yield(refs[i], counts)
	}
	return nil
}

// Backlog is how many calls of the function wait or run.
func (l *Ledger) Backlog(ref lofn.Ref) int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	f := l.state.functions[ref]
	if f == nil {
		return 0
	}
	return f.counts.Queued + f.counts.Running
}
