// Package jetstream keeps the queue's log and its large bodies in NATS
// JetStream: in the engine that this process embeds, or in a server elsewhere.
//
// The log is one stream with one subject, and a record's number is its sequence
// number there. The server compares it with what whoever appends has read, so
// two processes never write at the same place. It needs nothing that nats-server
// 2.9 does not have.
package jetstream

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lofn"
	"lofn/internal/queue/ledger"
)

const (
	// spareForRecords is what a record leaves free on the disk of the embedded
	// engine, for those that are urgent, which leave spareForUrgent.
	spareForRecords = 16 << 20
	spareForUrgent  = 1 << 20
)

// Log is a ledger.Log in a stream.
type Log struct {
	link   *link
	engine Engine // nil if the server is another process
	stream jetstream.Stream
	name   string // of the stream, and its subject
}

// Close ends the connection. What is under way fails.
func (l *Log) Close() { l.link.conn.Close() }

// Append implements ledger.Log.
func (l *Log) Append(ctx context.Context, after uint64, data []byte, urgent bool) (number uint64, err error) {
	if err := l.ready(ctx, int64(len(data)), urgent); err != nil {
		return 0, err
	}
	failure := l.link.failure()
	err = l.link.send(ctx, func() error {
		number, err = l.publish(ctx, after, data)
		return err
	})
	if failure.Err() != nil && lofn.CodeOf(err) == lofn.DeadlineExceeded {
		return 0, l.failed(ctx, after, err)
	}
	if err == nil && l.engine != nil {
		l.engine.Appended(l.name, number)
	}
	return number, err
}

func (l *Log) publish(ctx context.Context, after uint64, data []byte) (uint64, error) {
	ctx, cancel := l.link.bound(ctx)
	defer cancel()
	message := &nats.Msg{Subject: l.name, Data: data}
	ack, err := l.link.js.PublishMsg(ctx, message, jetstream.WithExpectLastSequence(after))
	if last, ok := refusedAt(err); ok && last < after {
		return 0, l.contradicted(ctx, after, err)
	}
	if err != nil {
		return 0, l.link.verdict(ctx, err)
	}
	return ack.Sequence, nil
}

// contradicted is for an answer by which the log is shorter than it was. So
// answers a server of a cluster that was started again and has not caught up,
// while the one that leads takes the record.
func (l *Log) contradicted(ctx context.Context, after uint64, err error) error {
	if _, last, lookup := l.endsAfter(ctx, after); lookup == nil && last < after {
		return fmt.Errorf("%w: %w", ledger.ErrBehind, err) // it is: its end is lost
	}
	return lofn.Errorf(lofn.DeadlineExceeded, "it is unknown whether this was recorded: a server of %s has not caught up: %w", l.link.name, err)
}

// failed looks up what became of a record that the embedded engine failed to
// write: once it was started again, nothing is under way any more.
func (l *Log) failed(ctx context.Context, after uint64, err error) error {
	if _, last, lookup := l.ends(ctx); lookup == nil && last == after {
		return lofn.Errorf(lofn.Full, "nothing was recorded: the disk is full or fails: %w", err)
	}
	return err
}

// ready asks for room where this process can tell.
func (l *Log) ready(ctx context.Context, bytes int64, urgent bool) error {
	switch {
	case l.engine == nil:
		return nil
	case urgent:
		return l.engine.Ready(ctx, bytes, spareForUrgent)
	default:
		return l.engine.Ready(ctx, bytes, spareForRecords)
	}
}

// ask makes a request that may be made again. The embedded engine comes back
// first if it failed to write: until then it may show a record that is not on
// the disk.
func (l *Log) ask(ctx context.Context, what string, request func(ctx context.Context) error) error {
	if l.engine != nil {
		if err := l.engine.Ready(ctx, 0, 0); err != nil {
			return err
		}
	}
	return l.link.ask(ctx, what, request)
}

// Get implements ledger.Log.
func (l *Log) Get(ctx context.Context, number uint64) (data []byte, err error) {
	if number == 0 {
		return nil, lofn.Errorf(lofn.NotFound, "there is no record 0") // and the server would not understand
	}
	what := fmt.Sprintf("record %d cannot be read", number)
	err = l.ask(ctx, what, func(ctx context.Context) error {
		found, err := l.link.get(ctx, l.stream, number, "")
		data = found.Data
		return err
	})
	return data, err
}

// Trim implements ledger.Log.
func (l *Log) Trim(ctx context.Context, before uint64) error {
	if before <= 1 {
		return nil // which the server takes for everything
	}
	return l.ask(ctx, "old records were not removed", func(ctx context.Context) error {
		info, err := l.stream.Info(ctx)
		if err != nil {
			return err
		}
		// A number beyond the end would move the end.
		before = min(before, info.State.LastSeq+1)
		if l.engine != nil && !l.engine.Trimming(l.name, before) {
			return nil
		}
		return l.stream.Purge(ctx, jetstream.WithPurgeSequence(before))
	})
}

// catchUpTime is how long a server of a cluster may take to learn what the
// others have.
const catchUpTime = 15 * time.Second

// endsAfter is ends where a record is known to have been there. A server of a
// cluster that was started again may answer before it knows of it: one that
// still does not after a while has lost it.
func (l *Log) endsAfter(ctx context.Context, known uint64) (first, last uint64, err error) {
	for begin := time.Now(); ; {
		first, last, err = l.ends(ctx)
		if err != nil || last >= known || !l.copied() || time.Since(begin) > catchUpTime {
			return first, last, err
		}
		select {
		case <-time.After(reconnectWait):
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
}

// copied reports whether several servers have the log.
func (l *Log) copied() bool {
	cluster := l.stream.CachedInfo().Cluster
	return cluster != nil && len(cluster.Replicas) > 0
}

// Read implements ledger.Log.
func (l *Log) Read(ctx context.Context, from uint64) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		first, last, err := l.endsAfter(ctx, max(from, 1)-1)
		if err == nil && from > last+1 {
			err = lofn.Errorf(lofn.Internal, "the end of the queue's log is lost: record %d was there, and now the last one is %d: restore %s from a backup; or, to go on with what is left, start lofn anew", from-1, last, l.place())
		}
		if err != nil {
			yield(ledger.Record{}, err)
			return
		}
		for r, err := range l.records(ctx, max(first, from, 1), last) {
			if err != nil && lofn.CodeOf(err) == lofn.NotFound {
				err = l.missing(ctx, r.Number)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// ends returns the numbers of the first and the last record. If there is none,
// last is first-1.
func (l *Log) ends(ctx context.Context) (first, last uint64, err error) {
	err = l.ask(ctx, "the log cannot be read", func(ctx context.Context) error {
		info, err := l.stream.Info(ctx)
		if err == nil {
			first, last = info.State.FirstSeq, info.State.LastSeq
		}
		return err
	})
	return first, last, err
}

// damaged tells a person what to do about records that are lost.
func (l *Log) damaged(cause error) error {
	return lofn.Errorf(lofn.Internal, "the queue's log is damaged: %w: restore it from a backup; or, to begin with an empty queue, remove %s while lofn does not run", cause, l.place())
}

// place is where a person finds the log.
func (l *Log) place() string {
	if l.engine != nil {
		return l.engine.Place(l.name)
	}
	return fmt.Sprintf("the stream %s at %s", l.name, l.link.name)
}

// missing tells why a record is not there that was said to be.
func (l *Log) missing(ctx context.Context, number uint64) error {
	first, _, err := l.ends(ctx)
	if err != nil {
		return err
	}
	if number < first {
		return lofn.Errorf(lofn.Unavailable, "record %d was removed while the log was read: read it again", number)
	}
	return l.damaged(fmt.Errorf("record %d is missing", number))
}
