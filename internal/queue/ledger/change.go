package ledger

import (
	"context"
	"time"

	"lofn"
)

// Cancel implements lofn.Queue.
func (l *Ledger) Cancel(ctx context.Context, id string) (lofn.CallStatus, error) {
	return l.change(ctx, id, func(p *page, c *call) error {
		switch {
		case c.state() == lofn.CallQueued:
			e := c.settled(lofn.CallCancelled, time.Now())
			e.reason = "cancelled while it was waiting"
			p.add(e, id)
		case c.state() == lofn.CallRunning && !c.stop:
			p.add(&stopped{id}, id)
		case c.state().Final():
			return lofn.Errorf(lofn.Conflict, "call %s cannot be cancelled: it is %s already", id, c.state())
		}
		return nil
	})
}

// Redrive implements lofn.Queue.
func (l *Ledger) Redrive(ctx context.Context, id string) (lofn.CallStatus, error) {
	return l.change(ctx, id, func(p *page, c *call) error {
		if c.state() != lofn.CallDead {
			return lofn.Errorf(lofn.Conflict, "call %s cannot be redriven: it is %s, and only dead ones can", id, c.state())
		}
		p.add(&redriven{id, time.Now().UnixNano()}, id)
		return nil
	})
}

// Drop implements lofn.Queue.
func (l *Ledger) Drop(ctx context.Context, id string) error {
	return l.alter(ctx, id, func(p *page, c *call) error {
		if c.state() != lofn.CallDead {
			return lofn.Errorf(lofn.Conflict, "call %s cannot be dropped: it is %s, and only dead ones can; cancel those that wait or run", id, c.state())
		}
		p.add(&dropped{id}, id)
		return nil
	})
}

// change plans something about a call that is known, and returns what has
// become of it.
func (l *Ledger) change(ctx context.Context, id string, plan func(*page, *call) error) (lofn.CallStatus, error) {
	if err := l.alter(ctx, id, plan); err != nil {
		return lofn.CallStatus{}, err
	}
	return l.Status(ctx, id)
}

func (l *Ledger) alter(ctx context.Context, id string, plan func(*page, *call) error) error {
	return l.do(ctx, &op{plan: func(p *page) error {
		if p.touches(id) {
			return errLater
		}
		c, err := l.call(id)
		if err != nil {
			return err
		}
		return plan(p, c)
	}})
}
