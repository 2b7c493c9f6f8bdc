package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/google/uuid"

	"lofn"
)

// maxRequest bounds what is kept of a request in the log beside its body: what
// was said of it comes with every delivery.
const maxRequest = 512 << 10

// Enqueue implements lofn.Queue. The lines of the request that are too long
// are an error with code Invalid.
func (l *Ledger) Enqueue(ctx context.Context, s lofn.Submission) (lofn.CallStatus, error) {
	var print hash.Hash
	if s.Key != "" {
		print = sha256.New()
		if s.Body != nil {
			s.Body = io.TeeReader(s.Body, print)
		}
	}
	small, large, release, err := l.readBody(ctx, s.Body)
	defer release()
	if err != nil {
		return lofn.CallStatus{}, err
	}
	if s.Accepted.IsZero() {
		s.Accepted = time.Now()
	}
	s.Size = int64(len(small))
	if large != nil {
		s.Size = large.Size()
	}
	e := &accepted{id: s.ID, function: s.Function, at: s.Accepted.UnixNano(), key: s.Key, callback: s.Callback,
		request: appendRequest(nil, &s.Call, small)}
	if s.ID == "" {
		e.id = uuid.NewString()
	}
	if print != nil {
		e.print = fingerprint(print, &s.Call)
	}
	if len(e.request) > maxRequest {
		err = lofn.Errorf(lofn.Invalid, "the URL and the headers of the call take %d KiB, at most %d KiB can be queued", len(e.request)>>10, maxRequest>>10)
	} else {
		e.blob, err = large.commit()
	}
	if err != nil {
		large.discard()
		return lofn.CallStatus{}, err
	}
	return l.enqueue(ctx, e, s.MaxBacklog, large)
}

// fingerprint is what a call is compared by with another one that has the same
// key. The body is in the hash already.
func fingerprint(h hash.Hash, c *lofn.Call) uint64 {
	for _, text := range []string{c.Method, c.Path, c.Query} {
		_, _ = io.WriteString(h, "\x00"+text)
	}
	return binary.BigEndian.Uint64(h.Sum(nil)) | 1
}

func (s *spool) discard() {
	if s != nil {
		s.Discard()
	}
}

func (l *Ledger) enqueue(ctx context.Context, e *accepted, most int, large *spool) (lofn.CallStatus, error) {
	var first string
	err := l.do(ctx, &op{roomy: true, plan: func(p *page) (err error) {
		first, err = l.accept(p, e, most)
		return err
	}})
	_, unknown := err.(*unknownError)
	if first != "" || err != nil && !unknown {
		if large != nil {
			// It was committed, so that only its removal undoes it.
			l.removeBlobs([]string{e.blob})
		}
	}
	if first != "" {
		return l.Status(ctx, first)
	}
	if err != nil {
		return lofn.CallStatus{}, err
	}
	return lofn.CallStatus{ID: e.id, Function: e.function.Host(), State: lofn.CallQueued, AcceptedAt: moment(e.at)}, nil
}

// accept plans to take a call in, unless it was taken in before.
func (l *Ledger) accept(p *page, e *accepted, most int) (first string, err error) {
	s := l.state
	if e.key != "" {
		key := keyOf(e.function, e.key)
		if _, touched := p.keys[key]; touched {
			return "", errLater
		}
		if c := s.keys[key]; c != nil {
			if c.known().print != e.print {
				return "", lofn.Errorf(lofn.Unprocessable, "%s: %q was used for another call of %s, whose id is %s: use another key for another call", lofn.HeaderIdempotencyKey, e.key, e.function, c.id)
			}
			return c.id, nil
		}
		p.keys[key] = struct{}{}
	}
	f := s.function(e.function)
	if err := l.bound(p, f, most); err != nil {
		return "", err
	}
	if s.calls[e.id] != nil || p.touches(e.id) {
		e.id = uuid.NewString()
	}
	p.new[f]++
	p.all++
	p.add(e, e.id)
	return "", nil
}

// bound refuses a call that is one too many.
func (l *Ledger) bound(p *page, f *function, most int) error {
	if most == 0 {
		most = l.Limits.FunctionBacklog
	}
	open := f.counts.Queued + f.counts.Running + p.new[f]
	switch {
	case open >= most:
		return &lofn.Error{Code: lofn.Overloaded, RetryAfter: overloadPause,
			Text: fmt.Sprintf("function %s has %d asynchronous calls that wait or run, and may have no more: try again later, or allow more with its annotation %s", f.ref, open, lofn.AnnotationMaxBacklog)}
	case l.state.open+p.all >= l.Limits.Backlog:
		return &lofn.Error{Code: lofn.Overloaded, RetryAfter: overloadPause,
			Text: "the queue has as many calls waiting as it may have, of all functions together: try again later"}
	}
	return nil
}

// overloadPause is when to submit a call again that was one too many.
const overloadPause = 5 * time.Second
