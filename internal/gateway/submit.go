package gateway

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lofn"
)

// queue takes calls that nobody waits for, and tells how they went. lofn.Queue
// says what is promised.
type queue interface {
	Enqueue(context.Context, lofn.Submission) (lofn.CallStatus, error)
	Status(ctx context.Context, id string) (lofn.CallStatus, error)
	Result(ctx context.Context, id string) (lofn.Result, error)
	Cancel(ctx context.Context, id string) (lofn.CallStatus, error)
}

// Async is the handler of paths under AsyncPrefix. It sets the request's
// pattern, as an http.ServeMux does: it is one of a few, and paths are without
// bound.
func (g *Gateway) Async(w http.ResponseWriter, r *http.Request) {
	r.Pattern = strings.TrimSuffix(AsyncPrefix, "/")
	path := strings.TrimPrefix(r.URL.EscapedPath(), AsyncPrefix)
	if g.Queue == nil {
		name, _, _ := strings.Cut(path, "/")
		g.refuse(w, r, lofn.Errorf(lofn.Unimplemented,
			"asynchronous calls need a queue, which this lofn does not have: call %s%s instead, and wait for the answer", Prefix, name))
		return
	}
	if o, ok := g.outcomeOf(r, path); ok {
		g.serveOutcome(w, r, o)
		return
	}
	g.submit(w, r)
}

// submit answers with 202 when the queue has the call.
func (g *Gateway) submit(w http.ResponseWriter, r *http.Request) {
	c, err := g.find(r, AsyncPrefix, wishedID(r.Header))
	if c != nil && c.isPreflight(r) {
		g.answerPreflight(w, r, c)
		return
	}
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	s, err := c.submission(r)
	if err != nil {
		c.share(w.Header())
		g.refuse(w, r, err)
		return
	}
	if status, ok := g.enqueue(w, r, c, s); ok {
		g.accepted(w, c, status)
	}
}

// enqueue hands the call to the queue, or answers why not. The client's leaving
// does not stop it: once it has sent everything, it may close its side.
func (g *Gateway) enqueue(w http.ResponseWriter, r *http.Request, c *call, s lofn.Submission) (lofn.CallStatus, bool) {
	in := newIntake(c.limited(r.Body), http.NewResponseController(w))
	defer in.end()
	if r.Body != nil && r.Body != http.NoBody {
		s.Body = in
	}
	status, err := g.Queue.Enqueue(in.ctx, s)
	if err == nil {
		return status, true
	}
	// By the ID a client can ask for a call of which it is not known whether it
	// was accepted.
	g.sign(w.Header(), c)
	broken := in.broken()
	switch {
	case c.overrun.Load():
		err = c.tooLarge()
	case broken != nil: // whether or not the client is still there
		err = lofn.Errorf(lofn.Invalid, "the body of the request cannot be read: %w", broken)
	case lofn.CodeOf(err) == lofn.DeadlineExceeded, errors.Is(err, context.Canceled) && lofn.CodeOf(err) == lofn.Internal:
		err = c.unanswered()
	default:
		err = g.queueError(c.id, err)
	}
	if lofn.CodeOf(err) != lofn.DeadlineExceeded {
		w.Header().Del(lofn.HeaderCallID) // there is no such call
	}
	g.refuse(w, r, err)
	return status, false
}

// unanswered is the error of a call that the queue took too long to take.
func (c *call) unanswered() error {
	return lofn.Errorf(lofn.DeadlineExceeded, "the queue did not answer within %v, so that it is not known whether the call was accepted: %scalls/%s says so once it answers; with an %s it can be sent again and is still made once",
		queueTime, AsyncPrefix, c.id, lofn.HeaderIdempotencyKey)
}

// queueError is the queue's error as the caller gets it, who need not be known
// to the platform: what was not written for callers is kept to the log.
func (g *Gateway) queueError(id string, err error) error {
	e, told := errors.AsType[*lofn.Error](err)
	switch {
	case !told:
		g.Log.Error("the queue failed", "call", id, "error", err)
		return lofn.Errorf(lofn.Internal, "the queue failed; the log of lofn says why")
	case e.Code == lofn.Unavailable:
		g.complain("asynchronous calls are refused: the queue cannot be reached", id, err)
		return &lofn.Error{Code: e.Code, Text: "the queue of asynchronous calls cannot be reached: try again in a moment", Cause: err, RetryAfter: max(e.RetryAfter, time.Second)}
	case e.Code == lofn.Full:
		g.complain("asynchronous calls are refused: the disk is full", id, err)
		return &lofn.Error{Code: e.Code, Text: "the disk of the queue is full, so the call was not accepted: try again when there is room", Cause: err, RetryAfter: fullPause}
	default:
		return err
	}
}

// fullPause is when to try again where a person has to make room first.
const fullPause = time.Minute

// complain logs what keeps calls from being accepted, once in a while: it
// concerns all of them.
func (g *Gateway) complain(what, id string, err error) {
	const pause = int64(5 * time.Second)
	last, now := g.complained.Load(), time.Now().UnixNano()
	if now-last > pause && g.complained.CompareAndSwap(last, now) {
		g.Log.Error(what, "call", id, "error", err)
	}
}

// accepted promises the call. If it repeats one before it, that is the call that
// the answer is about.
func (g *Gateway) accepted(w http.ResponseWriter, c *call, status lofn.CallStatus) {
	h := w.Header()
	values := [...]string{status.ID, strconv.FormatInt(status.AcceptedAt.UnixNano(), 10), g.servedBy, AsyncPrefix + outcomePath + status.ID}
	for i, name := range [...]string{lofn.HeaderCallID, lofn.HeaderStartTime, lofn.HeaderServedBy, "Location"} {
		h[name] = values[i : i+1 : i+1] // one allocation for all
	}
	c.shareOutcome(h)
	w.WriteHeader(http.StatusAccepted)
}
