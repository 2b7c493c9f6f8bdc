package lofn

import (
	"errors"
	"fmt"
	"time"
)

// Code classifies an error by what the caller should do about it. There is one
// HTTP status for each, in internal/problem.
type Code int

const (
	// Internal is a fault of the platform: report it. It is the code of any
	// error that carries none.
	Internal Code = iota
	// Invalid is a fault of the request: correct it and call again.
	Invalid
	// Unprocessable is Invalid for a query that is well-formed and yet makes
	// no sense; the contract tells the two apart for logs.
	Unprocessable
	// NotFound names something that does not exist: create it first.
	NotFound
	// Exists names something that is there already: update it instead.
	Exists
	// Conflict is a lost compare-and-set: read again and retry.
	Conflict
	// Unauthenticated asks for credentials.
	Unauthenticated
	// Forbidden refuses credentials that were understood.
	Forbidden
	// Overloaded asks the caller to slow down and retry later.
	Overloaded
	// Full says that there is no room on the disk: nothing was taken.
	Full
	// Unavailable is a passing condition, such as a function without a ready
	// replica: retry later.
	Unavailable
	// DeadlineExceeded says that the time allowed for the work ran out.
	DeadlineExceeded
	// Unreachable says that a function took the call and broke it off.
	Unreachable
	// Unimplemented says that this platform, as configured, cannot do it.
	Unimplemented
)

// Error is an error with a Code and one line of text meant for the person who
// made the request: it names the thing, and where it can what would be right.
type Error struct {
	Code Code
	Text string
	// Cause is the error underneath, if any; its text is part of Text only
	// where the author put it there.
	Cause error
	// RetryAfter is when it may be worth to try again, if that can be told.
	RetryAfter time.Duration
}

func (e *Error) Error() string { return e.Text }

// Unwrap returns the cause, for errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Cause }

// Errorf returns an *Error whose text is formatted as by fmt.Errorf; %w keeps
// the cause.
func Errorf(code Code, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Text: err.Error(), Cause: errors.Unwrap(err)}
}

// Unreached is the error of a call that a replica took and broke off. Callers
// of functions need not be known to the platform, so the text keeps the cause,
// which may speak of the machine, to itself.
func Unreached(function Ref, replica string, cause error) error {
	return &Error{
		Code:  Unreachable,
		Text:  fmt.Sprintf("function %s (replica %s) broke the call off; its log may say why", function, replica),
		Cause: cause,
	}
}

// CodeOf returns the code of the first *Error in err's chain, or Internal.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}
