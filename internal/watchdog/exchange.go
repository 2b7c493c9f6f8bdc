package watchdog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
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
	deadline time.Time // zero if there is none
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
	if limit := w.config.ExecTimeout; limit > 0 {
		e.deadline = e.started.Add(limit)
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
		if err == errNoAnswer && e.reused && repeatable {
			e.up.Close()
			continue
		}
		if err == nil || err == http1.ErrUnusual {
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
			if err == http1.ErrIncomplete && e.got < len(e.in) {
				continue
			}
			if err == http1.ErrIncomplete {
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

// pass passes the answer on, and gives the connection to the function back.
func (e *exchange) pass(reply *http1.Response, head int, plain bool) (keep bool) {
	var reuse bool
	if plain && (hasType(reply) || reply.ContentLength == 0) {
		keep, reuse = e.passPlain(reply, head)
	} else {
		keep, reuse = e.passOdd()
	}
	if reuse && !e.expired() {
		e.front.server.idle.put(e.up, time.Now())
	} else {
		e.up.Close()
	}
	return keep
}

func hasType(reply *http1.Response) bool {
	for _, h := range reply.Headers {
		if h.Kind == http1.ContentType {
			return true
		}
	}
	return false
}

func (e *exchange) passPlain(reply *http1.Response, head int) (keep, reuse bool) {
	length := reply.ContentLength
	if string(e.front.request.Method) == "HEAD" {
		length = 0
	}
	e.status = reply.Status
	buffered := e.in[head:e.got]
	if int64(len(buffered)) > length {
		// More than was announced: nobody can tell what it belongs to.
		buffered, reply.KeepAlive = buffered[:length], false
	}
	keep = e.keepsAlive()
	out := e.front.server.outs.Get().(*[]byte)
	defer e.front.server.outs.Put(out)
	b := append(e.appendReply((*out)[:0], reply, keep), buffered...)
	*out = b
	if int64(len(buffered)) == length {
		e.end()
	}
	if !e.write(b) {
		return false, false
	}
	e.written = int64(len(buffered))
	if left := length - e.written; left > 0 && !e.copyRest(left) {
		return false, false
	}
	return keep, reply.KeepAlive
}

// keepsAlive reports whether another request may follow on the connection.
func (e *exchange) keepsAlive() bool {
	return e.front.request.KeepAlive && !e.front.server.isClosing()
}

// pieceSize is how much of a long answer a client must take within
// write_timeout.
const pieceSize = 1 << 20

func (e *exchange) copyRest(left int64) bool {
	e.startWatching()
	for left > 0 {
		e.extend()
		n, err := io.CopyN(e.front.Conn, e.up, min(left, pieceSize))
		e.written += n
		left -= n
		if err != nil {
			break
		}
	}
	return e.stopWatching() && left == 0
}

// write sends to the client, which has write_timeout to take it.
func (e *exchange) write(b []byte) bool {
	e.extend()
	_, err := e.front.Write(b)
	return err == nil
}

func (e *exchange) extend() {
	if limit := e.front.server.watchdog.config.WriteTimeout; e.front.server.watchdog.options.Impatient && limit > 0 {
		_ = e.front.SetWriteDeadline(time.Now().Add(limit))
	}
}

func (e *exchange) appendReply(b []byte, reply *http1.Response, keep bool) []byte {
	b = append(b, reply.Line...)
	b = append(b, "\r\n"...)
	dated := false
	for _, h := range reply.Headers {
		switch h.Kind {
		case http1.Hop, http1.Duration:
			continue
		case http1.Date:
			dated = true
		}
		b = appendHeader(b, h.Name, h.Value)
	}
	return append(e.appendOwn(b, dated, keep), "\r\n"...)
}

// appendOwn adds the headers that the watchdog sets.
func (e *exchange) appendOwn(b []byte, dated, keep bool) []byte {
	if !dated {
		b = appendHeader(b, "Date", httpDate())
	}
	if !keep {
		b = appendHeader(b, "Connection", "close")
	}
	return appendHeader(b, lofn.HeaderDurationSeconds, seconds(time.Since(e.started)))
}

// answer answers in the watchdog's own name.
func (e *exchange) answer(status int, text string, headers ...string) (keep bool) {
	e.status, e.written = status, int64(len(text))
	keep = e.keepsAlive()
	b := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Length: %d\r\n", status, http.StatusText(status), len(text))
	for i := 0; i < len(headers); i += 2 {
		b = appendHeader(b, headers[i], headers[i+1])
	}
	b = append(e.appendOwn(b, false, keep), "\r\n"...)
	if string(e.front.request.Method) != "HEAD" {
		b = append(b, text...)
	}
	e.end()
	return e.write(b) && keep
}

// fail answers for a function that did not.
func (e *exchange) fail(err error) (keep bool) {
	w := e.front.server.watchdog
	cause := err
	switch {
	case err == errGone:
		e.status = clientClosedRequest
		return false
	case e.front.server.isKilled():
		cause = errShutdown
	case errors.Is(err, errShutdown):
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		cause = &timeoutError{"exec_timeout", w.config.ExecTimeout}
	}
	return e.answer(w.unanswered(cause), "", lofn.HeaderInternal, component)
}

// clock is the time as the Date header has it, kept for its second.
var clock = new(atomic.Pointer[stamp])

type stamp struct {
	second int64
	text   string
}

func httpDate() string {
	t := time.Now()
	if s := clock.Load(); s != nil && s.second == t.Unix() {
		return s.text
	}
	s := &stamp{second: t.Unix(), text: t.UTC().Format(http.TimeFormat)}
	clock.Store(s)
	return s.text
}
