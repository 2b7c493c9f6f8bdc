package process

import (
	"sync"
	"time"
)

// looks decides when to look whether a process listens. Looks get ever rarer,
// so that the last one is late by a small part of what the start took.
type looks struct {
	began time.Time
	// bound is when the kernel told that the socket has appeared, if it did.
	bound time.Time
	// blind is set where the kernel will not tell.
	blind bool
	// habit is set for programs that are known to listen on their socket.
	habit bool
	// port is when the ports are due.
	port time.Time
}

const (
	// finest is the shortest pause between looks, of which an idle runtime
	// makes a millisecond, and rare that between looks at ports where hardly
	// anybody listens on one.
	finest, rare = 200 * time.Microsecond, 20 * time.Millisecond
	// longest is the longest pause.
	longest = 100 * time.Millisecond
)

// newLooks returns when to look after a process from began on. With habit it
// will hardly listen on a port.
func newLooks(began time.Time, blind, habit bool) *looks {
	l := &looks{began: began, blind: blind, habit: habit, port: began}
	if habit {
		l.port = began.Add(rare)
	}
	return l
}

// ports reports whether the ports are due in a look that begins now.
func (l *looks) ports(now time.Time) bool { return !now.Before(l.port) }

// after is how long to pause after a look, so that looking never takes more
// than a fifth of a processor.
func (l *looks) after(began, ended time.Time) time.Duration {
	took := ended.Sub(began)
	pace := func(age, least time.Duration) time.Duration { return min(max(age, least, 4*took), longest) }
	usual := pace(ended.Sub(l.began)/40, finest)
	if l.ports(began) {
		l.port = ended.Add(usual)
		if l.habit {
			l.port = ended.Add(max(usual, rare))
		}
	}
	next := l.port.Sub(ended)
	switch {
	case !l.bound.IsZero():
		return min(next, pace(ended.Sub(l.bound)/4, finest))
	case l.blind:
		return min(next, usual)
	}
	return next
}

// habits knows, by digest, the images whose program listened on its socket.
type habits struct{ sockets sync.Map }

func (h *habits) socket(digest string) bool {
	_, known := h.sockets.Load(digest)
	return known
}

func (h *habits) learn(digest, network string) {
	if network == "unix" {
		h.sockets.Store(digest, nil)
	} else {
		h.sockets.Delete(digest)
	}
}
