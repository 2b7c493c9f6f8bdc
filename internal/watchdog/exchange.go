package watchdog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"lofn"
	"lofn/internal/http1"
)

// exchange is one call on the short way.
type exchange struct {
	front   *front
	request []byte // as it was read, of which head bytes are the head
	head    int

	started  time.Time
	limit    *timeoutError // nil if there is none
	deadline time.Time     // zero if there is none
	up       net.Conn
	reused   bool
	in       []byte // of which got bytes were read from the function
	got      int
	watch    *watch

	method   string
	status   int
	written  int64
	admitted bool
	ended    bool
}

// run answers the call, and reports whether the connection can go on.
func (e *exchange) run() (keep bool) {
	s, r := e.front.server, &e.front.request
	w := s.watchdog
	e.started = time.Now()
	e.method = methodName(r.Method)
	w.options.Metrics.begin()
	defer e.end()
	if refusal := w.admit(); refusal != nil {
		return e.answer(refusal.status, refusal.text, lofn.HeaderInternal, refusal.who, "Content-Type", "text/plain", "X-Content-Type-Options", "nosniff")
	}
	e.admitted = true
	if e.limit = w.limit(false, string(http1.Value(r.Headers, http1.Timeout))); e.limit != nil {
		e.deadline = e.started.Add(e.limit.limit)
	}
	in := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(in)
	e.in = *in
	keep = e.call()
	e.log()
	return keep
}

// end counts the call out, once. It comes before the last byte is written, so
// that who has the answer does not find the place taken still.
func (e *exchange) end() {
	if e.ended {
		return
	}
	e.ended = true
	w := e.front.server.watchdog
	w.options.Metrics.end(e.status, e.method, time.Since(e.started))
	if e.admitted {
		w.leave()
	}
}

// methodName returns the method without allocating.
func methodName(b []byte) string {
	for _, m := range knownMethods {
		if string(b) == m {
			return m
		}
	}
	return string(b)
}

func (e *exchange) log() {
	var agent, id []byte
	for _, h := range e.front.request.Headers {
		switch h.Kind {
		case http1.UserAgent:
			agent = h.Value
		case http1.CallID:
			id = h.Value
		}
	}
	if !strings.HasPrefix(string(agent), "kube-probe") {
		e.front.server.watchdog.logCall(e.method, string(e.front.request.Target), string(id), e.status, e.written, time.Since(e.started))
	}
}

var (
	// errNoAnswer says that the connection to the function ended before the
	// first byte of an answer.
	errNoAnswer = errors.New("the function closed the connection before an answer")
	// errGone says that the client has left.
	errGone = errors.New("the client has gone")
)

// call makes the call, again if the function closed a connection that had been
// idle and the call may reach it twice (RFC 9110, 9.2.2).
func (e *exchange) call() (keep bool) {
	m := string(e.front.request.Method)
	repeatable := m != "POST" && m != "PATCH"
	for {
		err := e.connect()
		if err != nil {
			return e.fail(err)
		}
		reply := new(http1.Response)
		n, err := e.ask(reply)
		if errors.Is(err, errNoAnswer) && e.reused && repeatable {
			e.up.Close()
			continue
		}
		if err == nil || errors.Is(err, http1.ErrUnusual) {
			return e.pass(reply, n, err == nil)
		}
		e.up.Close()
		return e.fail(err)
	}
}

// connect borrows a connection to the function, or makes one.
func (e *exchange) connect() error {
	s := e.front.server
	// After a connection that was closed under the call no other is trusted.
	if !e.reused {
		if e.up = s.idle.take(e.started); e.up != nil {
			e.reused = true
			s.mark(e.front, e.up)
			return nil
		}
	}
	e.reused = false
	ctx, cancel := s.watchdog.life, context.CancelFunc(func() {})
	if !e.deadline.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, e.deadline)
	}
	defer cancel()
	up, err := s.watchdog.dial(ctx)
	if err != nil {
		return err
	}
	e.up = up
	s.mark(e.front, up)
	return nil
}

// patience is how long a function may take before somebody looks whether the
// client is still there. Shorter calls do not pay for that.
const patience = 5 * time.Millisecond

// ask sends the request and reads the head of the answer, whose length it
// returns. With http1.ErrUnusual e.in has its beginning.
func (e *exchange) ask(reply *http1.Response) (int, error) {
	if err := e.send(); err != nil {
		return 0, err
	}
	if e.deadline.IsZero() || time.Until(e.deadline) > patience {
		_ = e.up.SetReadDeadline(e.started.Add(patience))
	}
	for e.got = 0; ; {
		m, err := e.up.Read(e.in[e.got:])
		e.got += m
		if m > 0 {
			n, err := reply.Parse(e.in[:e.got])
			switch {
			case errors.Is(err, http1.ErrIncomplete) && e.got < len(e.in):
				continue
			case errors.Is(err, http1.ErrIncomplete), err == nil && reply.Body != http1.Sized:
				err = http1.ErrUnusual
			}
			if !e.stopWatching() {
				return 0, errGone
			}
			return n, err
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, e.lost(err)
		}
		if e.watch != nil || e.expired() || e.front.server.isKilled() {
			if !e.stopWatching() {
				return 0, errGone
			}
			return 0, err
		}
		e.startWatching()
	}
}

// lost is why the function's connection ended while its answer was awaited.
func (e *exchange) lost(err error) error {
	switch {
	case !e.stopWatching():
		return errGone
	case e.got > 0:
		return fmt.Errorf("the function closed the connection in the head of its answer: %w", err)
	}
	return errNoAnswer
}

func (e *exchange) expired() bool { return !e.deadline.IsZero() && time.Until(e.deadline) <= 0 }

func (e *exchange) send() error {
	s := e.front.server
	out := s.outs.Get().(*[]byte)
	defer s.outs.Put(out)
	b := e.appendRequest((*out)[:0])
	b = append(b, e.request[e.head:]...)
	*out = b
	_ = e.up.SetDeadline(e.deadline)
	if _, err := e.up.Write(b); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		return errNoAnswer
	}
	return nil
}

func (e *exchange) appendRequest(b []byte) []byte {
	r := &e.front.request
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, r.Target...)
	b = append(b, " HTTP/1.1\r\n"...)
	length := false
	for _, h := range r.Headers {
		if h.Kind == http1.Hop {
			continue
		}
		length = length || h.Kind == http1.ContentLength
		b = appendHeader(b, h.Name, h.Value)
	}
	if !length {
		switch string(r.Method) { // RFC 9110, 8.6
		case "POST", "PUT", "PATCH":
			b = append(b, "Content-Length: 0\r\n"...)
		}
	}
	return append(b, "\r\n"...)
}

func appendHeader[S string | []byte](b []byte, name, value S) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}
