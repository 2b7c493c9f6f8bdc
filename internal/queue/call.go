package queue

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"time"

	"lofn"
)

// functionPrefix is where the gateway's paths begin.
const functionPrefix = "/function/"

// callTask makes calls of functions.
type callTask struct{ *Worker }

// policy is what a function says about its calls: nothing, if there is no such
// function any more.
func (w *Worker) policy(ref lofn.Ref) *lofn.Policy {
	if policy, ok := w.Functions.Policy(ref); ok {
		return policy
	}
	usual, _ := lofn.Function{}.Policy()
	return &usual
}

func (t callTask) room(l *line) int {
	policy := t.policy(l.lane.Function)
	replicas, calls := t.Functions.Room(l.lane.Function)
	return l.window.allows(policy.MaxInflight, replicas, max(calls-l.calls, 0))
}

const (
	// firstPause is how long a function is left alone that refuses even a single
	// call. It is short, since it may be that call which is refused. If others
	// are refused too the pause doubles, up to longestPause.
	firstPause   = time.Second
	longestPause = 5 * time.Second
)

// learn has the function get fewer calls if it has too many.
func (t callTask) learn(l *line, round int, s lofn.Settlement) {
	switch s.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if l.window.cut(round, l.under) && s.Refused {
			l.pause = min(max(2*l.pause, firstPause), longestPause)
			l.until = earlier(s.Due, time.Now().Add(l.pause))
		}
		return
	}
	if s.Status == 0 {
		return
	}
	l.until, l.pause = time.Time{}, 0
	if l.full && s.Status < http.StatusInternalServerError {
		replicas, _ := t.Functions.Room(l.lane.Function)
		l.window.grow(t.policy(l.lane.Function).MaxInflight, replicas)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// make makes a call.
func (t callTask) make(_ *line, d lofn.Delivery) lofn.Settlement {
	ctx, end := t.begin(d)
	defer end()
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	a := &attempt{delivery: d, call: d.Call(), policy: t.policy(d.Call().Function), started: time.Now()}
	t.try(ctx, a)
	s := a.settlement(ctx)
	if s.Body == nil && a.body != nil {
		a.body.Discard()
	}
	if s.Status != 0 {
		t.Attempted(a.call.Function, s.Status)
	}
	return s
}

// try has the gateway serve the call, which panics where it breaks an answer off
// that the function broke off.
func (t callTask) try(ctx context.Context, a *attempt) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r, err := a.request(ctx, stop)
	if err != nil {
		a.fault = err
		return
	}
	defer r.Body.Close()
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			a.broken = true
		default:
			t.Log.Error("a call made the platform panic", "function", a.call.Function, "call", a.call.ID, "panic", p, "stack", string(debug.Stack()))
			a.fault = lofn.Errorf(lofn.Internal, "the platform panicked; its log has more")
		}
	}()
	t.Gateway.ServeHTTP(a, r)
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
}

// request is the call as its client would make it. Headers of the request that
// was accepted go on, Callback and IdempotencyKey too: OpenFaaS sends them, and
// the function may tell by the latter what it has done already. Those that were
// about the client's connection do not.
func (a *attempt) request(ctx context.Context, stop context.CancelFunc) (*http.Request, error) {
	call := &a.call
	path := functionPrefix + call.Function.Host() + call.Path
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "the path of the call cannot be read: %w", err)
	}
	h := call.Header.Clone()
	if h == nil {
		h = make(http.Header)
	}
	h.Del("Upgrade")
	h.Del("Expect")
	h.Set(lofn.HeaderCallID, call.ID)
	h.Set(lofn.HeaderRetry, strconv.Itoa(a.delivery.Status().Attempts))
	h.Set(lofn.HeaderRetryMax, strconv.Itoa(a.policy.Async.Attempts))
	r := &http.Request{
		Method: call.Method, URL: &url.URL{Path: plain, RawPath: path, RawQuery: call.Query},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Host: call.Host, RemoteAddr: call.Remote, ContentLength: call.Size, Body: http.NoBody,
	}
	if call.Size > 0 {
		if r.Body, err = a.delivery.Body(ctx); err != nil {
			return nil, fmt.Errorf("the body of the call cannot be read: %w", err)
		}
		a.stopReading = stop
	}
	return r.WithContext(ctx), nil
}
