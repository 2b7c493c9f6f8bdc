package lofn

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Queue keeps calls that nobody waits for, durably: what a method that returned
// nil has done is on disk. All methods are safe for concurrent use. Several
// processes may have the same queue open; what one of them has leased no other
// gets.
//
// A call is delivered at least once, and has exactly one outcome: Delivery says
// how. Errors have code NotFound for an unknown call, Conflict for what does
// not fit the call's state, Overloaded where a bound is reached, Full where the
// disk is, and Unavailable while the queue cannot be reached.
//
// internal/queue/queuetest is the specification as tests, and
// internal/queue/mem the smallest implementation that passes them.
type Queue interface {
	// Enqueue accepts a call and returns its status. Where the submission has
	// a key that one before it had, nothing is accepted, and the status is that
	// of the first; if the two ask for different things, the error has code
	// Unprocessable. After an error it may be unknown whether the call was
	// accepted: those with code Unavailable or DeadlineExceeded say so.
	Enqueue(ctx context.Context, s Submission) (CallStatus, error)

	// Status tells how a call goes, until its outcome has expired.
	Status(ctx context.Context, id string) (CallStatus, error)
	// Request returns the call, as far as it is still kept: of one that
	// succeeded or was cancelled, only its ID and Function.
	Request(ctx context.Context, id string) (Call, error)
	// Result returns the answer of a call that has its outcome. The error has
	// code Conflict if it has none yet, NotFound if it ended without an answer.
	Result(ctx context.Context, id string) (Result, error)
	// List returns the calls that q selects, the oldest first.
	List(ctx context.Context, q CallQuery) ([]CallStatus, error)
	// Counts calls yield with what there is of each function that has something.
	Counts(yield func(Ref, QueueCounts)) error

	// Cancel calls a call off. A queued one is cancelled when it returns; one
	// that is running is told to stop, and is cancelled when it has. The error
	// has code Conflict if the call had its outcome already.
	Cancel(ctx context.Context, id string) (CallStatus, error)
	// Redrive queues a dead call again, with all its attempts before it.
	Redrive(ctx context.Context, id string) (CallStatus, error)
	// Drop forgets a dead call.
	Drop(ctx context.Context, id string) error

	// Take leases up to most deliveries that are due in the lane, those first
	// that have been due for the longest. None is no error.
	Take(ctx context.Context, lane Lane, most int) ([]Delivery, error)
}

// Submission is a call that is to be accepted. Its ID is what the caller wishes
// it to be: one that is taken already is replaced.
type Submission struct {
	Call
	// Body is read to its end, Call.Size says nothing about it. It may be nil.
	Body io.Reader
	// Key makes a repeated submission the same call, "" for none.
	Key string
	// MaxBacklog is how many calls of the function may wait or run, 0 for as
	// many as the queue takes.
	MaxBacklog int
}

// Lane is where deliveries of one kind for one function line up.
type Lane struct {
	Function Ref
	// Callback is set for outcomes on their way to their callbacks, and not for
	// calls on their way to the function.
	Callback bool
}

// Delivery is a lease on a call, or on its callback: from Take until Settle,
// nobody else gets it. The lease is extended by itself while the process lives.
// Should the process be taken for dead, others get the call, and Settle fails
// with code Conflict.
type Delivery interface {
	// Call returns what is to be delivered. It is shared: whoever changes the
	// header clones it first.
	Call() Call
	// Status is the call's state at the moment of the lease, this attempt
	// included.
	Status() CallStatus
	// Context ends when the call is cancelled or the lease is lost, and has the
	// cause.
	Context() context.Context
	// Body returns the call's body, from its beginning.
	Body(ctx context.Context) (io.ReadCloser, error)
	// Result returns the call's outcome, for a callback.
	Result(ctx context.Context) (Result, error)
	// Spool returns a place for the answer's body. What is not settled with is
	// to be discarded.
	Spool() Spool
	// Settle ends the lease. Where the answer's body cannot be kept, which is
	// another error than Conflict, the lease is still there.
	Settle(ctx context.Context, s Settlement) error
}

// ErrCancelled is the cause of the end of a delivery's context when somebody
// called the call off.
var ErrCancelled = &Error{Code: Conflict, Text: "the call was cancelled"}

// Settlement is what came of a delivery.
type Settlement struct {
	// State is the outcome of the call; CallQueued is for another attempt. For
	// a callback CallSucceeded says that it was delivered, and CallFailed that
	// it is given up: the call's own state stays what it is.
	State CallState
	// Due is when another attempt shall be made.
	Due time.Time
	// Refused says that the function did not take the call, so that this was no
	// attempt.
	Refused bool
	Status  int
	Reason  string
	Started time.Time
	// Header and Body are the answer's; Body is nil if there was none.
	Header http.Header
	Body   Spool
}

// Spool keeps an answer's body until its call is settled: in memory what is
// small, on disk what is not. It is not safe for concurrent use.
type Spool interface {
	io.Writer
	// Size is how many bytes were written.
	Size() int64
	// Discard removes what was written.
	Discard()
}

// Result is the answer that a call ended with.
type Result struct {
	Status int
	Header http.Header
	Size   int64
	// Body is to be closed.
	Body io.ReadCloser
	// Duration is how long the last attempt took.
	Duration time.Duration
}

// QueueLimits bound what a queue keeps.
type QueueLimits struct {
	// Backlog is how many calls may wait or run, of all functions together, and
	// FunctionBacklog of one function that says nothing itself.
	Backlog, FunctionBacklog int
	// Keep is how long the outcome of a call is kept, and KeepCount how many
	// are: beyond that the oldest go early.
	Keep      time.Duration
	KeepCount int
	// KeepDead is how long a dead call is kept, 0 for until somebody drops it.
	KeepDead time.Duration
}

// DefaultQueueLimits are those of a platform that says nothing else.
var DefaultQueueLimits = QueueLimits{
	Backlog: 1_000_000, FunctionBacklog: 500_000, Keep: 24 * time.Hour, KeepCount: 200_000,
}
