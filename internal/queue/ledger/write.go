package ledger

import (
	"context"
	"errors"
	"time"

	"lofn"
)

// write appends the page and takes in what it says. After an error nothing was
// written; where that is not known, it finds out. ErrBehind says that the state
// has changed meanwhile.
func (l *Ledger) write(ctx context.Context, p *page) error {
	number, err := l.Log.Append(ctx, l.last, p.data, p.urgent)
	switch {
	case err == nil:
		l.take(p, number)
		return nil
	case errors.Is(err, ErrBehind):
		l.takeBack(p)
		return l.behind(ctx)
	case lofn.CodeOf(err) == lofn.Full, lofn.CodeOf(err) == lofn.Unavailable:
		l.takeBack(p)
		return err
	}
	l.Logger.Warn("queue: not known whether the last steps were written, looking them up", "error", err)
	return l.resolve(ctx, p)
}

// take applies a page that this process has written.
func (l *Ledger) take(p *page, number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written++
	l.last, l.at = number, time.Now()
	l.state.records.add(number, len(p.data))
	l.cache.put(number, p.data)
	for _, s := range p.steps {
		s.place.record = number
		l.state.apply(s.entry, s.place)
	}
}

// takeBack undoes what planning the page did.
func (l *Ledger) takeBack(p *page) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unplan(p.taken)
	p.taken = nil
}

// behind reads what others wrote.
func (l *Ledger) behind(ctx context.Context) error {
	if err := l.catchUp(ctx); err != nil {
		return err
	}
	return ErrBehind
}

// resolve finds out whether a page was written, and writes it if not: since
// an append names the record that it follows, it can be there only once.
func (l *Ledger) resolve(ctx context.Context, p *page) error {
	start := l.last
	for wait := writePause / 4; ; {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			l.takeBack(p)
			return errStopped
		}
		found, err := l.find(ctx, p)
		switch {
		case found:
			return nil
		case l.last != start:
			// Others wrote, so that this one can never follow any more, however
			// far they were read.
			return ErrBehind
		case err != nil:
			wait = min(2*wait, maxResolvePause)
			l.Logger.Warn("queue: the log cannot be read, so it is still not known", "again_in", wait, "error", err)
			continue
		}
		number, err := l.Log.Append(ctx, l.last, p.data, p.urgent)
		if err == nil {
			l.take(p, number)
			return nil
		}
		// Whatever the error says, an earlier attempt may still be on its way.
	}
}

// maxResolvePause is the longest pause between attempts to find out.
const maxResolvePause = 5 * time.Second

// find reads what the log has beyond what is known, and reports whether the
// page is there. If the log has gone on without it, the page is taken back.
func (l *Ledger) find(ctx context.Context, p *page) (found bool, err error) {
	other := false
	err = l.readOn(ctx, func(r Record) (mine bool) {
		if found || other {
			return false
		}
		t, err := readPage(r.Number, r.Data, func(entry, place) {})
		if err == nil && t.writer == l.worker && t.number == l.written+1 {
			l.take(p, r.Number)
			found = true
			return true
		}
		l.takeBack(p)
		other = true
		return false
	})
	return found, err
}

// catchUp reads what the log has beyond what is known.
func (l *Ledger) catchUp(ctx context.Context) error {
	return l.readOn(ctx, func(Record) bool { return false })
}

// readOn takes in what the log has beyond what is known, but for the records
// that are taken in by mine.
func (l *Ledger) readOn(ctx context.Context, mine func(Record) bool) error {
	for r, err := range l.Log.Read(ctx, l.last+1) {
		switch {
		case err != nil:
			return err
		case mine(r):
			continue
		case l.last != 0 && r.Number != l.last+1:
			// Others have trimmed what was not read here yet.
			return l.reread(ctx)
		}
		steps, writer, err := steps(r)
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.last = r.Number
		l.state.read(r, steps, writer)
		l.renew(steps)
		l.mu.Unlock()
	}
	return nil
}

// steps are the entries of a record that somebody else wrote, or this process
// before it ended the last time.
func steps(r Record) (all []step, writer string, err error) {
	t, err := readPage(r.Number, r.Data, func(e entry, at place) { all = append(all, step{e, at}) })
	if err != nil {
		err = lofn.Errorf(lofn.Internal, "record %d of the queue's log cannot be read: %w", r.Number, err)
	}
	return all, t.writer, err
}

// read takes in a record.
func (s *state) read(r Record, steps []step, writer string) {
	s.records.add(r.Number, len(r.Data))
	for _, step := range steps {
		s.apply(step.entry, step.place)
	}
	if w := s.workers[writer]; w != nil {
		w.heard = time.Now()
	}
}

// renew gives this process another name if its leases were taken from it. It is
// called with the lock held.
func (l *Ledger) renew(steps []step) {
	for _, s := range steps {
		if v, ok := s.entry.(*voided); ok && v.worker == l.worker {
			l.Logger.Error("queue: this process was taken for dead, and lost the calls that it was making; they are made again", "worker", l.worker)
			l.worker = l.newName()
		}
	}
}

// reread forgets all that is known and reads the log from its beginning.
func (l *Ledger) reread(ctx context.Context) error {
	fresh, last := l.emptyState(), uint64(0)
	for r, err := range l.Log.Read(ctx, 1) {
		if err != nil {
			return err
		}
		steps, writer, err := steps(r)
		if err != nil {
			return err
		}
		fresh.read(r, steps, writer)
		last = r.Number
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh.inherit(l.state, l.worker)
	l.state, l.last = fresh, last
	return nil
}

// inherit takes over the deliveries of a worker that still has their leases.
func (s *state) inherit(old *state, worker string) {
	for _, d := range old.mine {
		c := s.calls[d.of.id]
		if c == nil || c.lease == nil || c.lease.name != worker {
			d.cancel(errLeaseLost)
			continue
		}
		d.of = c
		s.mine[c] = d
		if c.stop {
			d.cancel(lofn.ErrCancelled)
		}
	}
	for name, w := range s.workers {
		if before := old.workers[name]; before != nil {
			w.heard = before.heard
		}
	}
	s.startCounting(old)
	s.garbage = append(s.garbage, old.garbage...)
}
