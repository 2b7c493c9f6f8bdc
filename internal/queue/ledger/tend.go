package ledger

import (
	"context"
	"time"

	"lofn"
)

// tend does what is to be done from time to time.
func (l *Ledger) tend(ctx context.Context) {
	l.watch(ctx)
	if !l.Mute && time.Since(l.at) > l.LeaseTime/3 && l.leases() {
		l.beat(ctx)
	}
	for through := false; !through && ctx.Err() == nil; {
		l.mu.Lock()
		through = l.state.expire(time.Now().UnixNano())
		l.mu.Unlock()
	}
	l.clean(ctx)
	l.trim(ctx)
}

// leases reports whether this process has any.
func (l *Ledger) leases() bool {
	w := l.state.workers[l.worker]
	return w != nil && len(w.calls) > 0
}

// beat extends this process's leases: an empty page is enough, for it says who
// wrote it.
func (l *Ledger) beat(ctx context.Context) {
	p := newPage(title{writer: l.worker, number: l.written + 1, at: time.Now().UnixNano()})
	if err := l.write(ctx, p); err != nil && err != ErrBehind && ctx.Err() == nil {
		l.Logger.Warn("queue: the leases on running calls cannot be extended", "lost_after", l.LeaseTime, "error", err)
	}
}

// watch reads what others wrote, if there may be others, and takes the calls of
// those that are dead.
func (l *Ledger) watch(ctx context.Context) {
	if l.shared.Load() == notShared && !l.others() {
		return
	}
	last := l.shared.Load() == wasShared
	if err := l.catchUp(ctx); err != nil {
		if ctx.Err() == nil {
			l.Logger.Warn("queue: the log cannot be read", "error", err)
		}
		return
	}
	if last {
		l.shared.CompareAndSwap(wasShared, notShared)
	}
	l.bury(ctx)
}

// bury takes the calls of workers that are dead, or silent for too long.
func (l *Ledger) bury(ctx context.Context) {
	var gone []*op
	calls := make(map[string]int)
	for name, w := range l.state.workers {
		if l.isGone(name) {
			calls[name] = len(w.calls)
			gone = append(gone, &op{done: make(chan struct{}), plan: func(p *page) error {
				if l.isGone(name) {
					p.add(&voided{name})
				}
				return nil
			}})
		}
	}
	l.commit(ctx, gone)
	for name, n := range calls {
		if l.state.workers[name] == nil { // else the disk is full, say
			l.Logger.Warn("queue: another process that was making calls is gone; they are made again", "worker", name, "calls", n)
		}
	}
}

// isGone reports whether a worker has leases that it is not going to settle.
func (l *Ledger) isGone(name string) bool {
	w := l.state.workers[name]
	if w == nil || name == l.worker || len(w.calls) == 0 {
		return false
	}
	return l.Dead != nil && l.Dead(name) || time.Since(w.heard) > l.LeaseTime
}

// others reports whether other workers have leases.
func (l *Ledger) others() bool {
	for name, w := range l.state.workers {
		if name != l.worker && len(w.calls) > 0 {
			return true
		}
	}
	return false
}

const (
	// trimPause is between two trims of little, for each one costs a flush.
	trimPause = 10 * time.Second
	// trimBytes is what is trimmed at once.
	trimBytes = 16 << 20
)

// trim drops the records at the beginning of the log in which nothing is live.
func (l *Ledger) trim(ctx context.Context) {
	before, bytes := l.state.records.dead()
	if bytes == 0 || bytes < trimBytes && time.Since(l.trimmed) < trimPause {
		return
	}
	l.trimmed = time.Now()
	if err := l.Log.Trim(ctx, before); err != nil {
		if ctx.Err() == nil {
			l.Logger.Warn("queue: the log cannot be shortened", "error", err)
		}
		return
	}
	l.mu.Lock()
	l.state.records.trim(before)
	l.mu.Unlock()
}

const (
	// copySize is how much is copied into a page, and copyPages how many pages
	// there are in one go, so that calls need not wait for long.
	copySize  = MaxRecordSize / 2
	copyPages = 16
)

// clean copies what is live at the beginning of the log to its end, so that the
// beginning can be trimmed.
func (l *Ledger) clean(ctx context.Context) {
	for range copyPages {
		if !l.state.records.sparse() || ctx.Err() != nil {
			return
		}
		before, _ := l.state.records.dead()
		data, err := l.record(ctx, before)
		if err != nil {
			l.Logger.Warn("queue: the log cannot be shortened", "record", before, "error", err)
			return
		}
		o := &op{done: make(chan struct{}), plan: func(p *page) error { return l.copy(p, before, data) }}
		l.commit(ctx, []*op{o})
		if o.err != nil {
			return
		}
	}
}

// copy adds what is live in a record to the page, as it is now.
func (l *Ledger) copy(p *page, record uint64, data []byte) error {
	_, err := readPage(record, data, func(e entry, at place) {
		if len(p.data) > copySize {
			return
		}
		switch e := e.(type) {
		case *accepted:
			if c := l.state.calls[e.id]; c != nil && c.request == at {
				e.standing = c.snapshot()
				e.key, e.print = c.known().key, c.known().print
				p.add(e, e.id)
			}
		case *settled:
			if c := l.state.calls[e.id]; c != nil && c.outcome == at {
				if n := c.notice(); n != nil {
					e.notice = *n
					if c.lease != nil {
						e.notice.worker = c.lease.name
					}
				}
				p.add(e, e.id)
			}
		}
	})
	return err
}

// snapshot is how the call stands, and who has it.
func (c *call) snapshot() standing {
	known := c.known()
	s := standing{attempts: uint64(c.attempts), refusals: known.refusals, due: c.next, started: c.started,
		status: known.status, reason: known.reason, stop: c.stop, refusedSince: known.refusedSince}
	if c.state() == lofn.CallRunning && c.lease != nil {
		s.worker = c.lease.name
	}
	return s
}

// stand is the way back, but for who has it.
func (c *call) stand(s standing) {
	c.attempts, c.next, c.started, c.stop = uint32(s.attempts), s.due, s.started, s.stop
	if s.status != 0 || s.reason != "" || s.refusals != 0 || s.refusedSince != 0 {
		r := c.more()
		r.status, r.reason, r.refusals, r.refusedSince = s.status, s.reason, s.refusals, s.refusedSince
	}
}
