package queue

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"lofn"
)

// How a callback is tried: so often, with such waits, and so many at a time for
// one function. One that is slow does not count among those, within bounds: it
// would hold up others of the function, which go elsewhere.
const (
	callbackAttempts = 10
	callbackMinWait  = time.Second
	callbackMaxWait  = 2 * time.Minute
	callbackRoom     = 8
	callbackMostRoom = 64
	callbackSlow     = time.Second
)

// callbackTask brings outcomes to their callbacks.
type callbackTask struct{ *Worker }

func (t callbackTask) room(l *line) int { return min(callbackRoom+l.slow, callbackMostRoom) }

func (t callbackTask) learn(*line, int, lofn.Settlement) {}

// linger counts a delivery of the line as slow, once it is, and until it ends.
func (c *crew) linger(l *line) (end func()) {
	ended, counted := false, 0
	timer := time.AfterFunc(callbackSlow, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !ended {
			counted = 1
			l.slow++
			l.stuck = false
			c.list(l)
		}
	})
	return func() {
		timer.Stop()
		c.mu.Lock()
		defer c.mu.Unlock()
		ended = true
		l.slow -= counted
	}
}

// make makes one attempt at a callback.
func (t callbackTask) make(l *line, d lofn.Delivery) lofn.Settlement {
	ctx, end := t.begin(d)
	defer end()
	defer t.callbacks.linger(l)()
	s := lofn.Settlement{State: lofn.CallQueued, Started: time.Now()}
	answer, err := t.deliver(ctx, d)
	switch {
	case ctx.Err() != nil && (answer.status == 0 || answer.status == statusClientGone):
		s = interrupted(ctx)
	case err != nil && lofn.CodeOf(err) == lofn.Invalid:
		s.State, s.Reason = lofn.CallFailed, err.Error()
	case err != nil:
		s.Reason = err.Error()
	default:
		s.Status = answer.status
		s.State, s.Reason = judge(answer)
	}
	if s.State == lofn.CallQueued && !s.Refused {
		t.again(d, &s, answer)
	}
	if s.State == lofn.CallFailed {
		call := d.Call()
		t.Log.Warn("a callback was given up", "function", call.Function, "call", call.ID, "callback", withoutSecrets(call.Callback), "reason", s.Reason)
	}
	t.CalledBack(d.Call().Function, s.State)
	return s
}

// judge says what the answer of a callback means. 303 is how some say that they
// have taken what was posted; other redirects would need it posted elsewhere.
func judge(a answer) (lofn.CallState, string) {
	reason := fmt.Sprintf("the callback answered with status %d", a.status)
	switch {
	case a.status < http.StatusMultipleChoices || a.status == http.StatusSeeOther:
		return lofn.CallSucceeded, ""
	case a.status < http.StatusBadRequest:
		return lofn.CallFailed, reason + ", which leads elsewhere: of redirects, only 307 and 308 between servers are followed, since others change what is sent"
	case a.status == http.StatusRequestTimeout, a.status == http.StatusTooEarly, a.status == http.StatusTooManyRequests,
		a.status >= http.StatusInternalServerError:
		return lofn.CallQueued, reason
	}
	return lofn.CallFailed, reason
}

// again has a callback tried again, unless this was the last attempt.
func (t callbackTask) again(d lofn.Delivery, s *lofn.Settlement, a answer) {
	made := 1
	if status := d.Status().Callback; status != nil {
		made = status.Attempts
	}
	if made >= callbackAttempts {
		s.State, s.Reason = lofn.CallFailed, fmt.Sprintf("%s (attempt %d of %d)", s.Reason, made, callbackAttempts)
		return
	}
	wait := jitter(backoff(made, callbackMinWait, callbackMaxWait))
	if asked, ok := retryAfter(a.status, a.header, time.Now()); ok {
		wait = max(asked, callbackMinWait)
	}
	s.Due = time.Now().Add(wait)
}

// deliver sends the outcome to the callback. An error of code Invalid is one
// that another attempt would not mend.
func (t callbackTask) deliver(ctx context.Context, d lofn.Delivery) (answer, error) {
	call := d.Call()
	to, err := url.Parse(call.Callback)
	if err != nil {
		return answer{}, lofn.Errorf(lofn.Invalid, "the callback's URL cannot be read: %w", cause(err))
	}
	if to.Scheme != "http" && to.Scheme != "https" || to.Host == "" {
		return answer{}, lofn.Errorf(lofn.Invalid, "the callback's URL is not one of http or https with a host")
	}
	o, err := openOutcome(ctx, d)
	if err != nil {
		return answer{}, err
	}
	defer o.body.Close()
	r, err := t.compose(ctx, to, o)
	if err != nil {
		return answer{}, err
	}
	return t.poster.post(r, o.size)
}

// compose makes the request that tells of an outcome.
func (t callbackTask) compose(ctx context.Context, to *url.URL, o *outcome) (*http.Request, error) {
	call, policy := o.delivery.Call(), t.policy(o.delivery.Call().Function)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), nil)
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "the callback's URL cannot be used: %w", cause(err))
	}
	r.Header = o.header
	h := r.Header
	h.Set(lofn.HeaderCallID, call.ID)
	h.Set(lofn.HeaderFunctionName, call.Function.Host())
	h.Set(lofn.HeaderFunctionStatus, strconv.Itoa(o.status))
	h.Set(lofn.HeaderRetry, strconv.Itoa(o.delivery.Status().Attempts))
	h.Set(lofn.HeaderRetryMax, strconv.Itoa(policy.Async.Attempts))
	h.Set("User-Agent", "lofn-queue-worker/"+t.Release)
	if o.answered {
		h.Set(lofn.HeaderDurationSeconds, strconv.FormatFloat(o.took.Seconds(), 'f', 6, 64))
	}
	if name := policy.Async.CallbackSecret; name != "" {
		if err := t.sign(ctx, h, o, name); err != nil {
			return nil, err
		}
	}
	if o.size > 0 {
		r.ContentLength, r.Body, r.GetBody = o.size, o.body, o.reopen
	}
	return r, nil
}

// withoutSecrets is a URL for the log: its query may be what a receiver knows
// its callers by.
func withoutSecrets(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
