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
	for {
		select {
		case <-time.After(writePause / 4):
		case <-ctx.Done():
			l.takeBack(p)
			return errStopped
		}
		before := l.last
		found, err := l.find(ctx, p)
		switch {
		case err != nil:
			continue
		case found:
			return nil
		case l.last != before:
			// Others wrote, so that this one can never follow any more.
			return ErrBehind
		}
		number, err := l.Log.Append(ctx, l.last, p.data, p.urgent)
		if err == nil {
			l.take(p, number)
			return nil
		}
		if lofn.CodeOf(err) == lofn.Full {
			// An earlier attempt may still be on its way, unless the log has
			// gone on past it.
			continue
		}
	}
}

// find reads what the log has beyond what is known, and reports whether the
// page is there.
func (l *Ledger) find(ctx context.Context, p *page) (found bool, err error) {
	taken := false
	for r, err := range l.Log.Read(ctx, l.last+1) {
		if err != nil {
			return false, err
		}
		if !found && !taken {
			if t, err := readPage(r.Number, r.Data, func(entry, place) {}); err == nil && t.writer == l.worker && t.number == l.written+1 {
				l.take(p, r.Number)
				found = true
				continue
			}
			l.takeBack(p)
			taken = true
		}
		if err := l.read(r); err != nil {
			return found, err
		}
	}
	return found, nil
}

// catchUp reads what the log has beyond what is known.
func (l *Ledger) catchUp(ctx context.Context) error {
	for r, err := range l.Log.Read(ctx, l.last+1) {
		if err != nil {
			return err
		}
		if err := l.read(r); err != nil {
			return err
		}
	}
	return nil
}

// read takes in a record that somebody else wrote, or this process before it
// ended the last time.
func (l *Ledger) read(r Record) error {
	var steps []step
	t, err := readPage(r.Number, r.Data, func(e entry, at place) { steps = append(steps, step{e, at}) })
	if err != nil {
		return lofn.Errorf(lofn.Internal, "record %d of the queue's log cannot be read: %w", r.Number, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = r.Number
	l.state.records.add(r.Number, len(r.Data))
	for _, s := range steps {
		l.state.apply(s.entry, s.place)
		if v, ok := s.entry.(*voided); ok && v.worker == l.worker {
			l.Logger.Error("queue: this process was taken for dead, and lost the calls that it was making; they are made again", "worker", l.worker)
			l.worker = l.newName()
		}
	}
	if w := l.state.workers[t.writer]; w != nil {
		w.heard = time.Now()
	}
	return nil
}
