// Package queue makes the calls that nobody waits for. It takes them out of a
// lofn.Queue, makes each one through the gateway, as if a client had sent it,
// and says what came of it: done, to be tried again, or dead. Then it brings
// the outcome to whoever asked for it.
//
// A function gets as many calls at a time as its replicas take, and fewer while
// it refuses some; what is left of the worker's places goes to the others, in
// turn.
package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"lofn"
)

// functions tells what is deployed.
type functions interface {
	// Policy returns what a function says about its calls.
	Policy(lofn.Ref) (*lofn.Policy, bool)
	// Room returns how many replicas of a function take calls, and how many calls
	// it has, those that wait included.
	Room(lofn.Ref) (replicas, calls int)
}

// secrets are what callbacks are signed with.
type secrets interface {
	Secret(ctx context.Context, namespace, name string) ([]byte, error)
}

// taker is the side of a lofn.Queue that deliveries come from.
type taker interface {
	Take(ctx context.Context, lane lofn.Lane, most int) ([]lofn.Delivery, error)
}

// Config is what a Worker works with.
type Config struct {
	Functions functions
	// Gateway serves the paths of functions. Front serves whatever the platform
	// listens to, for callbacks that lead back to it.
	Gateway, Front http.Handler
	Secrets        secrets
	// Release is lofn's version, for the header that names it.
	Release string
	// Calls is how many calls may be under way, and Callbacks how many
	// callbacks; 0 for DefaultCalls and DefaultCallbacks.
	Calls, Callbacks int
	// CallbackTime is how long a callback has for its answer, on top of what its
	// body takes; 0 for DefaultCallbackTime.
	CallbackTime time.Duration
	// Attempted is told of each attempt at a call that was answered, with the
	// status, and CalledBack of each at a callback: lofn.CallSucceeded,
	// lofn.CallFailed if it is given up, or lofn.CallQueued if there will be
	// another one. Nil discards it.
	Attempted  func(ref lofn.Ref, status int)
	CalledBack func(ref lofn.Ref, state lofn.CallState)
	Log        *slog.Logger
}

// Defaults of Config.
const (
	DefaultCalls        = 1000
	DefaultCallbacks    = 256
	DefaultCallbackTime = 30 * time.Second
)

// Worker is safe for concurrent use.
type Worker struct {
	Config
	calls, callbacks *crew
	poster           *poster
	// server marks the context of requests as a server's, which tells handlers
	// that a panic ends no more than one of them.
	server *http.Server

	// under are the deliveries under way. When life ends they are cut off, and
	// when settling does their outcomes are not waited for any more.
	under            sync.WaitGroup
	life, settling   context.Context
	cut, stopWaiting context.CancelCauseFunc
}

// New returns a Worker that takes nothing yet.
func New(c Config) *Worker {
	c.Calls, c.Callbacks = cmp.Or(c.Calls, DefaultCalls), cmp.Or(c.Callbacks, DefaultCallbacks)
	c.CallbackTime = cmp.Or(c.CallbackTime, DefaultCallbackTime)
	if c.Attempted == nil {
		c.Attempted = func(lofn.Ref, int) {}
	}
	if c.CalledBack == nil {
		c.CalledBack = func(lofn.Ref, lofn.CallState) {}
	}
	w := &Worker{Config: c, poster: newPoster(c), server: new(http.Server)}
	w.life, w.cut = context.WithCancelCause(context.Background())
	w.settling, w.stopWaiting = context.WithCancelCause(context.Background())
	w.calls = newCrew(w, c.Calls, callTask{w})
	w.callbacks = newCrew(w, c.Callbacks, callbackTask{w})
	return w
}

// Poke tells the worker that deliveries in a lane have become due, or may have.
// It does not block, and what it says is kept until there is a Run.
func (w *Worker) Poke(lane lofn.Lane) { w.crew(lane).poke(lane) }

func (w *Worker) crew(lane lofn.Lane) *crew {
	if lane.Callback {
		return w.callbacks
	}
	return w.calls
}

// look is how often lanes are looked at that could not be served: because
// replicas have become ready, or a function that refused calls may take some.
const look = 250 * time.Millisecond

// Run takes deliveries from the queue until ctx ends. When it returns it asks
// the queue for no more, but deliveries may be under way: Drain waits for them,
// or they end by themselves while the process goes on. It may run again, with
// the same queue or another.
func (w *Worker) Run(ctx context.Context, q taker) {
	var crews sync.WaitGroup
	for _, c := range []*crew{w.calls, w.callbacks} {
		crews.Go(func() { c.run(ctx, q) })
	}
	crews.Wait()
}

// errStopping is the cause of the end of deliveries that are cut off.
var errStopping = &lofn.Error{Code: lofn.Unavailable, Text: "lofn was stopped while the call was under way"}

// settleTime is what deliveries that are cut off have to be settled in.
const settleTime = 5 * time.Second

// Drain waits until no delivery is under way, when there is no Run any more. If
// ctx ends first, they are cut off and go back to the queue, as if they had
// not been made; this is final. The error is why some may not have got there:
// those come back when the queue finds out that this process is gone.
func (w *Worker) Drain(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		w.under.Wait()
		close(done)
	}()
	defer w.poster.close()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	w.cut(errStopping)
	late := time.NewTimer(settleTime)
	defer late.Stop()
	select {
	case <-done:
		return nil
	case <-late.C:
	}
	err := errors.New("the queue did not take back all calls that were cut off: they are made again later")
	w.stopWaiting(err)
	return err
}

// begin returns the context of a delivery, which ends with it, when it is
// called off, and when the worker is cut off.
func (w *Worker) begin(d lofn.Delivery) (ctx context.Context, end func()) {
	ctx = context.WithValue(d.Context(), http.ServerContextKey, w.server)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(w.life, func() { cancel(errStopping) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// interrupted is the settlement of a delivery that ended before it was made.
func interrupted(ctx context.Context) lofn.Settlement {
	cause := context.Cause(ctx)
	if cause == error(lofn.ErrCancelled) {
		return lofn.Settlement{State: lofn.CallCancelled, Reason: "cancelled while it was running"}
	}
	return lofn.Settlement{State: lofn.CallQueued, Due: time.Now(), Refused: true, Reason: cause.Error()}
}

// unkept has a call made again whose answer came, and cannot be kept. It may be
// one attempt more than the call has, for an outcome without its answer would be
// none.
func (w *Worker) unkept(d lofn.Delivery, s lofn.Settlement, why error) lofn.Settlement {
	ref, async := d.Call().Function, w.policy(d.Call().Function).Async
	wait := jitter(backoff(d.Status().Attempts, async.MinWait, async.MaxWait))
	return lofn.Settlement{
		State: lofn.CallQueued, Due: time.Now().Add(wait), Started: s.Started, Status: http.StatusInternalServerError,
		Reason: fmt.Sprintf("the answer of %s cannot be kept: %v", ref, why),
	}
}

// settle tells the queue what came of a delivery.
func (w *Worker) settle(d lofn.Delivery, s lofn.Settlement) {
	call := d.Call()
	err := d.Settle(w.settling, s)
	if err != nil && s.Body != nil && lofn.CodeOf(err) != lofn.Conflict && w.settling.Err() == nil {
		// The lease is still there, and would be for as long as this process.
		s = w.unkept(d, s, err)
		err = d.Settle(w.settling, s)
	}
	switch {
	case err == nil && s.State == lofn.CallDead:
		w.Log.Warn("a call is dead: lofn queue show tells more, lofn queue redrive makes it again", "function", call.Function, "call", call.ID, "reason", s.Reason)
	case err == nil && s.Refused && s.Reason == errStopping.Text:
		w.Log.Warn("a call was cut off and goes back to the queue", "function", call.Function, "call", call.ID)
	case err == nil:
	case lofn.CodeOf(err) == lofn.Conflict:
		w.Log.Warn("the lease on a call was lost while it was under way, so what came of it does not count", "function", call.Function, "call", call.ID)
	default:
		w.Log.Error("what came of a call cannot be written down, so it is made again", "function", call.Function, "call", call.ID, "state", s.State, "error", err)
	}
}
