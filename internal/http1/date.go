package http1

import (
	"net/http"
	"sync/atomic"
	"time"
)

// clock is the time as the Date header has it, kept for its second.
var clock = new(atomic.Pointer[stamp])

type stamp struct {
	second int64
	text   string
}

// Now returns the time as the Date header has it (RFC 9110, 6.6.1).
func Now() string {
	t := time.Now()
	if s := clock.Load(); s != nil && s.second == t.Unix() {
		return s.text
	}
	s := &stamp{second: t.Unix(), text: t.UTC().Format(http.TimeFormat)}
	clock.Store(s)
	return s.text
}
