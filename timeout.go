package lofn

import (
	"strconv"
	"time"
)

// DefaultTimeout is how long a call may take if its function says nothing:
// the upstream_timeout of the OpenFaaS gateway.
const DefaultTimeout = time.Minute

// EnvTimeout is the environment variable by which a function says how long one
// call may take; 0 means without limit.
const EnvTimeout = "exec_timeout"

// EnvStreamTimeout is the same for connections that switch to another protocol,
// such as WebSocket, and for answers that were asked for as a stream of events.
// Those end when a side wants them to, unless this says otherwise.
const EnvStreamTimeout = "stream_timeout"

// ParseSeconds reads a duration as the environment of functions has it: a Go
// duration, or a whole number of seconds. It is never negative.
func ParseSeconds(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if seconds, notNumber := strconv.ParseInt(text, 10, 32); notNumber == nil {
		d, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || d < 0 {
		return 0, Errorf(Invalid, "%q is not a duration: use a number with a unit, such as 30s or 5m, or whole seconds", text)
	}
	return d, nil
}
