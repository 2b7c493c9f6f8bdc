package ledger

import (
	"context"
	"time"

	"lofn"
)

// Cancel implements lofn.Queue.
func (l *Ledger) Cancel(ctx context.Context, id string) (lofn.CallStatus, error) {
	return l.change(ctx, id, func(c *call) error {
		if c.state().Final() {
			return lofn.Errorf(lofn.Conflict, "call %s cannot be cancelled: it is %s already", id, c.state())
		}
		return nil
	}, func(p *page, c *call) {
		switch {
		case c.state() == lofn.CallQueued:
			e := c.settled(lofn.CallCancelled, time.Now())
			e.reason = "cancelled while it was waiting"
			p.add(e, id)
		case !c.stop:
			p.add(&stopped{id}, id)
		}
	})
}

// Redrive implements lofn.Queue.
func (l *Ledger) Redrive(ctx context.Context, id string) (lofn.CallStatus, error) {
	return l.change(ctx, id, func(c *call) error {
		if c.state() != lofn.CallDead {
			return lofn.Errorf(lofn.Conflict, "call %s cannot be redriven: it is %s, and only dead ones can", id, c.state())
		}
		return nil
	}, func(p *page, _ *call) { p.add(&redriven{id, time.Now().UnixNano()}, id) })
}

// Drop implements lofn.Queue.
func (l *Ledger) Drop(ctx context.Context, id string) error {
	return l.alter(ctx, id, func(c *call) error {
		if c.state() != lofn.CallDead {
			return lofn.Errorf(lofn.Conflict, "call %s cannot be dropped: it is %s, and only dead ones can; cancel those that wait or run", id, c.state())
		}
		return nil
	}, func(p *page, _ *call) { p.add(&dropped{id}, id) })
}

// change plans something about a call, and returns what has become of it.
func (l *Ledger) change(ctx context.Context, id string, check func(*call) error, step func(*page, *call)) (lofn.CallStatus, error) {
	if err := l.alter(ctx, id, check, step); err != nil {
		return lofn.CallStatus{}, err
	}
	return l.Status(ctx, id)
}

// alter plans a step about a call that is known and passes the check. What does
// not pass it now is told at once, even if nothing can be written.
func (l *Ledger) alter(ctx context.Context, id string, check func(*call) error, step func(*page, *call)) error {
	l.mu.RLock()
	c, err := l.call(id)
	if err == nil {
		err = check(c)
	}
	l.mu.RUnlock()
	if err != nil {
		return err
	}
	return l.do(ctx, &op{plan: func(p *page) error {
		if p.touches(id) {
			return errLater
		}
		c, err := l.call(id)
		if err == nil {
			err = check(c)
		}
		if err == nil {
			step(p, c)
		}
		return err
	}})
}
