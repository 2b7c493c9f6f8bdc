package queue

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"lofn"
)

// attempt is a call that is being made, and takes the answer as the
// http.ResponseWriter that the gateway writes it to.
type attempt struct {
	delivery lofn.Delivery
	call     lofn.Call
	policy   *lofn.Policy
	started  time.Time
	// stopReading makes a Read of the request's body return, nil if it has none.
	stopReading context.CancelFunc

	header  http.Header
	trailer http.Header // what is set after the header was written
	status  int         // 0 before that
	body    lofn.Spool  // nil before that
	// text is how the body of an answer begins that the platform made.
	text []byte
	// fault is what kept the platform from making the call or keeping its answer,
	// and broken says that the answer was broken off.
	fault  error
	broken bool
}

// Header implements http.ResponseWriter. Trailers are dropped.
func (a *attempt) Header() http.Header {
	of := &a.header
	if a.status != 0 {
		of = &a.trailer
	}
	if *of == nil {
		*of = make(http.Header)
	}
	return *of
}

// WriteHeader implements http.ResponseWriter.
func (a *attempt) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.Header().Del("Content-Length") // the body has one of its own
		a.Header().Del("Trailer")
		a.status = status
		a.body = a.delivery.Spool()
	}
}

func (a *attempt) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if a.internal() {
		a.text = append(a.text, p[:min(len(p), maxText-len(a.text))]...)
	}
	n, err := a.body.Write(p)
	if err != nil && a.fault == nil {
		a.fault = fmt.Errorf("the answer of %s cannot be kept: %w", a.call.Function, err)
	}
	return n, err
}

// Flush has nothing to do: nobody waits.
func (a *attempt) Flush() {}

// SetReadDeadline is how the gateway ends the reading of a request's body, once
// nobody needs it.
func (a *attempt) SetReadDeadline(t time.Time) error {
	if a.stopReading == nil {
		return http.ErrNotSupported
	}
	if !t.After(time.Now()) {
		a.stopReading()
	}
	return nil
}

// maxText bounds what is taken of an answer for a reason.
const maxText = 1 << 10

// internal reports whether the platform made the answer.
func (a *attempt) internal() bool { return a.header.Get(lofn.HeaderInternal) != "" }

// statusClientGone is how the gateway answers when the request's context has
// ended.
const statusClientGone = 499

// complete reports whether there is an answer of the function.
func (a *attempt) complete() bool {
	return !a.broken && a.fault == nil && !a.internal() && a.status != statusClientGone
}

// settlement is what came of the attempt.
func (a *attempt) settlement(ctx context.Context) lofn.Settlement {
	s := lofn.Settlement{Started: a.started, Status: a.status}
	switch async := &a.policy.Async; {
	case ctx.Err() != nil && !a.complete():
		s = interrupted(ctx)
		s.Started = a.started
	case a.fault != nil && lofn.CodeOf(a.fault) == lofn.Full:
		s.Status = http.StatusInsufficientStorage
		a.refused(&s, a.fault.Error())
	case a.fault != nil:
		s.Status = http.StatusInternalServerError
		a.again(&s, a.fault.Error())
	case a.broken:
		s.Status = http.StatusBadGateway
		a.again(&s, a.breach())
	case a.status < http.StatusBadRequest:
		s.State = lofn.CallSucceeded
		a.keep(&s)
	case a.status == http.StatusTooManyRequests:
		a.refused(&s, a.reason())
		a.keep(&s)
	case a.internal() && a.status == http.StatusServiceUnavailable:
		// No replica took it, so it is not the call that is at fault.
		a.refused(&s, a.reason())
		a.keep(&s)
	case a.internal() && a.status == http.StatusNotFound:
		s.State, s.Reason = lofn.CallDead, fmt.Sprintf("function %s is not deployed any more: deploy it and redrive the call, or drop it", a.call.Function)
		a.keep(&s)
	case a.internal() || async.Retries(a.status):
		a.again(&s, a.reason())
		a.keep(&s)
	default:
		s.State, s.Reason = lofn.CallFailed, a.reason()
		a.keep(&s)
	}
	return s
}

// keep has the answer be the call's, if the call has its outcome.
func (a *attempt) keep(s *lofn.Settlement) {
	if s.State.Final() {
		s.Header, s.Body = a.header, a.body
	}
}

// reason says in words what the answer was.
func (a *attempt) reason() string {
	text := strings.TrimSpace(strings.ToValidUTF8(string(a.text), "\uFFFD"))
	return cmp.Or(text, fmt.Sprintf("function %s answered with status %d", a.call.Function, a.status))
}

// breach says how far an answer came that was broken off.
func (a *attempt) breach() string {
	if a.status == 0 {
		return fmt.Sprintf("function %s broke its answer off before it began", a.call.Function)
	}
	return fmt.Sprintf("function %s broke its answer off: it began with status %d, and %d bytes of it came", a.call.Function, a.status, a.body.Size())
}

// again has a call made again that went wrong, unless this was the last
// attempt.
func (a *attempt) again(s *lofn.Settlement, reason string) {
	async, made := &a.policy.Async, a.delivery.Status().Attempts
	s.Reason = reason
	if made >= async.Attempts {
		s.State, s.Reason = lofn.CallDead, fmt.Sprintf("%s (attempt %d of %d)", reason, made, async.Attempts)
		return
	}
	wait := jitter(backoff(made, async.MinWait, async.MaxWait))
	if asked, ok := a.retryAfter(); ok {
		wait = max(asked, async.MinWait)
	}
	s.State, s.Due = lofn.CallQueued, time.Now().Add(wait)
}

// patience is how long a call is offered again that is refused.
const patience = 24 * time.Hour

// leastRefusal is the least time until a call is offered again.
const leastRefusal = time.Second

// refused has a call offered again that the function had no room or no replica
// for, or the disk for its answer. That was no attempt. The longer it goes on, the longer
// are the waits.
func (a *attempt) refused(s *lofn.Settlement, reason string) {
	async, now := &a.policy.Async, time.Now()
	var refused time.Duration
	if since := a.delivery.Status().RefusedSince; since != nil {
		refused = now.Sub(*since)
	}
	if s.Reason = reason; refused > patience {
		s.State, s.Reason = lofn.CallDead, fmt.Sprintf("%s (and so it has been for %v)", reason, refused.Round(time.Minute))
		return
	}
	wait := jitter(min(max(refused, async.MinWait), async.MaxWait))
	if asked, ok := a.retryAfter(); ok {
		wait = max(asked, async.MinWait)
	}
	s.State, s.Refused, s.Due = lofn.CallQueued, true, now.Add(max(wait, leastRefusal))
}

func (a *attempt) retryAfter() (time.Duration, bool) {
	return retryAfter(a.status, a.header, time.Now())
}
