package lofn

import (
	"net/http"
	"time"
)

// Call is an invocation that outlives its request: somebody was told that it is
// accepted, and nobody waits for it.
type Call struct {
	// ID is how it is asked about.
	ID       string
	Function Ref
	Method   string
	// Path is what followed the function in the URL, escaped, with its slash.
	Path string
	// Query is the raw query of the URL.
	Query  string
	Header http.Header
	// Host and Remote are the request's own Host and the address it came from.
	Host, Remote string
	// Callback is the URL that gets the outcome, "" if nobody asked for it.
	Callback string
	Accepted time.Time
	// Size is how long the body is, in bytes.
	Size int64
}

// maxCallID is how long the ID of a call may be.
const maxCallID = 128

// ValidCallID reports whether a call can have the ID: letters, digits, dots,
// dashes and underscores, and more than dots, which mean something else in the
// path of a URL.
func ValidCallID(id string) bool {
	dots := 0
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		case c == '.':
			dots++
		default:
			return false
		}
	}
	return dots < len(id) && len(id) <= maxCallID
}

// CallState is how far a call has come.
type CallState string

// The states of a call. The last four are final, but for a dead one that is
// redriven.
const (
	// CallQueued waits for its first attempt, or for another one.
	CallQueued CallState = "queued"
	// CallRunning is at a function.
	CallRunning CallState = "running"
	// CallSucceeded was answered with a status below 400.
	CallSucceeded CallState = "succeeded"
	// CallFailed was answered with an error that another attempt would not mend.
	CallFailed CallState = "failed"
	// CallDead failed at its last attempt, or cannot be made any more. It is kept
	// with its request until somebody redrives or drops it.
	CallDead CallState = "dead"
	// CallCancelled was called off by somebody.
	CallCancelled CallState = "cancelled"
)

// Final reports whether the call has its outcome.
func (s CallState) Final() bool { return s != CallQueued && s != CallRunning }

// CallStates are all states, in the order of a call's life.
var CallStates = [...]CallState{CallQueued, CallRunning, CallSucceeded, CallFailed, CallDead, CallCancelled}

// CallStatus tells how a call goes, or went. It answers
// GET /async-function/calls/{id}.
type CallStatus struct {
	ID       string    `json:"id"`
	Function string    `json:"function"` // "name.namespace"
	State    CallState `json:"state"`
	// Attempts is how often the call was made, the attempt under way included.
	// Those that the function refused because it was busy do not count.
	Attempts int `json:"attempts"`
	// Status is the HTTP status of the last answer, 0 while there is none.
	Status int `json:"status,omitempty"`
	// Reason says in words why the last attempt failed, or why the call ended
	// otherwise than by success.
	Reason     string    `json:"reason,omitempty"`
	AcceptedAt time.Time `json:"acceptedAt"`
	// RefusedSince is since when the function has had no room for the call, nil
	// if it took it when it was last asked.
	RefusedSince *time.Time `json:"refusedSince,omitempty"`
	// NextAt is when the next attempt is due, StartedAt when the latest began.
	NextAt    *time.Time `json:"nextAt,omitempty"`
	StartedAt *time.Time `json:"startedAt,omitempty"`
	EndedAt   *time.Time `json:"endedAt,omitempty"`
	// ExpiresAt is until when the outcome is kept, nil if it is not to expire.
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	// ResultSize is how long the answer's body is, in bytes. Nil says that there
	// is no answer.
	ResultSize *int64          `json:"resultSize,omitempty"`
	Callback   *CallbackStatus `json:"callback,omitempty"`
}

// CallbackStatus tells whether the outcome of a call has reached its callback.
type CallbackStatus struct {
	URL string `json:"url"`
	// State is "waiting" for the outcome, "pending" until it was delivered,
	// "delivered", or "failed" if it was given up.
	State    string `json:"state"`
	Attempts int    `json:"attempts,omitempty"`
	// Status is that of the callback's last answer.
	Status int    `json:"status,omitempty"`
	Reason string `json:"reason,omitempty"`
	// NextAt is when the next attempt is due.
	NextAt *time.Time `json:"nextAt,omitempty"`
}

// States of a CallbackStatus.
const (
	CallbackWaiting   = "waiting"
	CallbackPending   = "pending"
	CallbackDelivered = "delivered"
	CallbackFailed    = "failed"
)

// CallDetail is what a person who looks after a queue sees of a call: its
// status and its request. It answers GET /system/queue/calls/{id}.
type CallDetail struct {
	CallStatus
	Method string      `json:"method"`
	Path   string      `json:"path"`
	Query  string      `json:"query,omitempty"`
	Header http.Header `json:"header,omitempty"`
	Size   int64       `json:"size"`
}

// CallQuery selects calls of a queue.
type CallQuery struct {
	// Namespace and Name select those of a namespace or a function; empty means
	// all.
	Namespace, Name string
	// States selects calls in one of these, empty those in any.
	States []CallState
	// Limit is the most that are wanted.
	Limit int
}

// QueueCounts is what a queue holds of one function.
type QueueCounts struct {
	Function string `json:"function"` // "name.namespace"
	// Queued calls wait, Running ones are under way, Dead ones are kept.
	Queued  int `json:"queued"`
	Running int `json:"running"`
	Dead    int `json:"dead"`
	// Callbacks are outcomes that their callbacks have not got yet.
	Callbacks int `json:"callbacks"`
	// Oldest is when the oldest of those that wait was accepted.
	Oldest *time.Time `json:"oldest,omitempty"`
	// The rest counts since the platform started.
	Accepted  uint64 `json:"accepted"`
	Retries   uint64 `json:"retries"`
	Succeeded uint64 `json:"succeeded"`
	Failed    uint64 `json:"failed"`
	Died      uint64 `json:"died"`
	Cancelled uint64 `json:"cancelled"`
}
