package jetstream

import (
	"context"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lofn"
	"lofn/internal/queue/ledger"
)

const (
	// Records are asked for before they are wanted: as many as come to
	// aheadBytes if they are like the last one, within bounds.
	aheadBytes = 8 << 20
	minAhead   = 16
	maxAhead   = 256
)

// records yields the records from first to last, to the first error. The error
// of one that is not there has code NotFound.
//
// Consumers, the server's own way to read a stream, come with a state there, and
// do not tell a record that is missing from one that is late.
func (l *Log) records(ctx context.Context, first, last uint64) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		if first > last {
			return
		}
		whole := ctx
		ctx, cancel := l.link.alive(ctx)
		defer cancel()
		r, err := l.newReader(first, last)
		if err != nil {
			yield(ledger.Record{}, l.link.translate(ctx, err, "the log cannot be read"))
			return
		}
		defer r.close()
		for number := first; number <= last; number++ {
			data, err := r.next(ctx, number)
			if err == nil && data == nil || broke(err) {
				data, err = l.Get(whole, number)
			}
			if !yield(ledger.Record{Number: number, Data: data}, err) || err != nil {
				return
			}
		}
	}
}

// reader asks for many records, and takes the answers as they come.
type reader struct {
	log          *Log
	inbox        string // where the answers come, each with its number behind
	answers      chan *nats.Msg
	subscription *nats.Subscription
	early        map[uint64]*nats.Msg // those whose turn is not yet
	asked, last  uint64
	ahead        uint64
	patience     *time.Timer
}

func (l *Log) newReader(first, last uint64) (*reader, error) {
	r := &reader{
		log: l, inbox: l.link.conn.NewInbox() + ".", answers: make(chan *nats.Msg, 2*maxAhead), early: make(map[uint64]*nats.Msg),
		asked: first - 1, last: last, ahead: minAhead, patience: time.NewTimer(l.link.limit),
	}
	var err error
	r.subscription, err = l.link.conn.ChanSubscribe(r.inbox+"*", r.answers)
	return r, err
}

func (r *reader) close() {
	r.patience.Stop()
	_ = r.subscription.Unsubscribe() // fails only without a connection
}

// next returns a record's data, or nothing if it is to be asked for once more.
func (r *reader) next(ctx context.Context, number uint64) ([]byte, error) {
	const what = "the log cannot be read on"
	for ; r.asked < min(r.last, number+r.ahead-1); r.asked++ {
		next := strconv.FormatUint(r.asked+1, 10)
		err := r.log.link.conn.PublishRequest(jetstream.DefaultAPIPrefix+"DIRECT.GET."+r.log.name, r.inbox+next, []byte(`{"seq":`+next+`}`))
		if err != nil {
			return nil, r.log.link.translate(ctx, err, what)
		}
	}
	r.patience.Reset(r.log.link.limit)
	for r.early[number] == nil {
		select {
		case m := <-r.answers:
			n, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, r.inbox), 10, 64)
			if err == nil {
				r.early[n] = m
			}
		case <-ctx.Done():
			return nil, r.log.link.translate(ctx, context.Cause(ctx), what)
		case <-r.patience.C:
			return nil, lofn.Errorf(lofn.DeadlineExceeded, "%s: %s did not answer in time", what, r.log.link.name)
		}
	}
	m := r.early[number]
	delete(r.early, number)
	if m.Header.Get("Status") != "" {
		return nil, nil // an error, or not there yet
	}
	r.ahead = min(max(aheadBytes/uint64(len(m.Data)+1), minAhead), maxAhead)
	if m.Data == nil {
		m.Data = []byte{}
	}
	return m.Data, nil
}
