package logstore

import (
	"context"
	"errors"
	"io"
	"iter"
	"math"
	"time"

	"lofn"
)

// Logs yields the lines that q selects, oldest first, which is the order in
// which they were written, whatever the clock did. Lines that the platform
// adds for a missing part of the log are selected whatever q.Instance is, if
// that part may be of a time that q.Since selects, and q.Tail does not count
// them.
//
// A query that follows ends without an error when ctx ends, the function is
// removed or the store is closed; another that ctx ends yields its error, and
// one whose function is removed meanwhile ends early.
func (s *Store) Logs(ctx context.Context, q lofn.LogQuery) iter.Seq2[lofn.LogLine, error] {
	return func(yield func(lofn.LogLine, error) bool) {
		if err := q.Function.Validate(); err != nil {
			yield(lofn.LogLine{}, err)
			return
		}
		l := s.log(q.Function)
		end, err := l.snapshot()
		if err != nil {
			yield(lofn.LogLine{}, lofn.Errorf(lofn.Internal, "logs: those of %s cannot be read: %w", q.Function.Host(), err))
			return
		}
		r := &reader{log: l}
		defer r.close()
		if q.Tail > 0 {
			if r.place, err = l.tail(ctx, q, end); err != nil {
				yield(lofn.LogLine{}, err)
				return
			}
		}
		if q.Follow {
			end = position{math.MaxUint64, math.MaxInt64}
		}
		r.deliver(ctx, q, end, yield)
	}
}

// snapshot returns where the log ends now.
func (l *functionLog) snapshot() (position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return position{}, nil
	}
	if err := l.load(); err != nil {
		return position{}, err
	}
	if l.lost.lines > 0 {
		// There may be room again. If not, the next to write or read tries.
		_ = l.ready(0)
	}
	if len(l.segments) == 0 {
		return position{}, nil
	}
	return position{l.last().number, l.last().size}, nil
}

// selects reports whether the query wants the entry.
func selects(q lofn.LogQuery, e entry) bool {
	if e.remark == "" && q.Instance != "" && q.Instance != e.record.instance {
		return false
	}
	return q.Since.IsZero() || !time.Unix(0, e.record.time).Before(q.Since)
}

// tail returns the place of the last but q.Tail of the lines selected.
func (l *functionLog) tail(ctx context.Context, q lofn.LogQuery, end position) (place, error) {
	r := &reader{log: l}
	defer r.close()
	var last []place // a ring, once it is full
	found := 0
	for {
		e, err := r.next(end)
		if err == nil {
			err = ctx.Err()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return place{}, err
		}
		if e.remark != "" || !selects(q, e) {
			continue
		}
		p := place{e.at, e.record.number}
		if len(last) < q.Tail {
			last = append(last, p)
		} else {
			last[found%q.Tail] = p
		}
		found++
	}
	switch {
	case found == 0:
		return r.place, nil
	case found <= q.Tail:
		return last[0], nil
	}
	return last[found%q.Tail], nil
}

// deliver yields lines up to end.
func (r *reader) deliver(ctx context.Context, q lofn.LogQuery, end position, yield func(lofn.LogLine, error) bool) {
	for {
		if err := ctx.Err(); err != nil {
			if !q.Follow {
				yield(lofn.LogLine{}, err)
			}
			return
		}
		e, err := r.next(end)
		switch {
		case errors.Is(err, io.EOF) && q.Follow:
			if !r.wait(ctx) {
				return
			}
			continue
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			yield(lofn.LogLine{}, r.log.readError(err))
			return
		}
		if selects(q, e) && !r.yield(q, e, yield) {
			return
		}
	}
}

func (r *reader) yield(q lofn.LogQuery, e entry, yield func(lofn.LogLine, error) bool) bool {
	text, err := r.line(e)
	if errors.Is(err, io.EOF) {
		return false
	}
	if err != nil {
		yield(lofn.LogLine{}, r.log.readError(err))
		return false
	}
	return yield(lofn.LogLine{Function: q.Function, Instance: e.record.instance, Time: time.Unix(0, e.record.time), Text: text}, nil)
}

func (l *functionLog) readError(err error) error {
	return lofn.Errorf(lofn.Internal, "logs: those of %s cannot be read: %w", l.ref.Host(), err)
}
