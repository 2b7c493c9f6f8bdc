package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"lofn"
	"lofn/internal/http1"
)

// exchange is one call through the lane.
type exchange struct {
	*call
	conn *laneConn
	body []byte
	size int // of the request, head included
	// ended is told how the call ended.
	ended func(status int, took time.Duration)
	// in is the buffer for the function's answer, of which in[:got] was read.
	in  []byte
	got int
	// watch looks out for the client while the function takes its time.
	watch *watch
}

// route finds the function, as Gateway.route does. Whatever would be answered
// with an error is not for the lane.
func (e *exchange) route() error {
	r := &e.conn.request
	name := r.Target[len(Prefix):]
	if end := bytes.IndexAny(name, "/?"); end >= 0 {
		name = name[:end]
	}
	if bytes.IndexByte(name, '%') >= 0 {
		return errRest
	}
	ref := lofn.ParseHost(string(name))
	fn, ok := e.conn.lane.gateway.Functions.Function(ref)
	if !ok {
		return errRest
	}
	e.call = newCall(ref, string(http1.Value(r.Headers, http1.CallID)))
	e.path = string(r.Target[len(Prefix)+len(name):])
	if e.limit(fn, string(http1.Value(r.Headers, http1.Timeout))) != nil {
		return errRest
	}
	return nil
}

var (
	// errUnsent says that the function got no byte of the request.
	errUnsent = errors.New("the connection ended before the request")
	// errNoAnswer says that the connection to the function ended before the
	// first byte of an answer.
	errNoAnswer = errors.New("the connection ended before an answer")
)

// attempts bounds how often a call that nobody answered is made again.
const attempts = 3

// run makes the call. keep tells whether the client's connection can go on;
// with errRest the client got no answer, and the call may be made anew.
func (e *exchange) run() (keep bool, err error) {
	link, ok := e.conn.lane.direct.Direct(e.ref)
	if !ok {
		return false, errRest
	}
	e.ended = e.conn.lane.gateway.Meter.Started(e.ref)
	in := e.conn.lane.ins.Get().(*[]byte)
	defer e.conn.lane.ins.Put(in)
	e.in = *in
	for attempt := 1; ; attempt++ {
		keep, err := e.over(link)
		if err == nil || err == errGone || err == errCutOff {
			return keep, err
		}
		if attempt == attempts || err != errUnsent && (err != errNoAnswer || !e.repeatable()) {
			return e.fail(link.Replica().ID, err)
		}
		next, ok := e.conn.lane.direct.Direct(e.ref)
		if !ok {
			// Net/http's door waits for a replica.
			e.end(0)
			return false, errRest
		}
		link = next
	}
}

// repeatable reports whether the request may reach the function twice
// (RFC 9110, 9.2.2).
func (e *exchange) repeatable() bool {
	m := string(e.conn.request.Method)
	return m != "POST" && m != "PATCH"
}

// over makes the call over one connection. An error means that the client was
// not answered yet, or has gone.
func (e *exchange) over(link lofn.Link) (keep bool, err error) {
	reuse := false
	defer func() { link.Return(reuse) }()
	if err := e.send(link); err != nil {
		return false, err
	}
	var reply http1.Response
	n, err := e.receive(link, &reply)
	if !e.stopWatching() {
		return false, e.clientGone()
	}
	switch {
	case err == http1.ErrUnusual:
		keep, reuse, err = e.relay(link)
		return keep, err
	case err != nil:
		return false, err
	}
	keep, reuse, err = e.answer(link, &reply, n)
	return keep, err
}

// send writes the request as the function gets it.
func (e *exchange) send(link lofn.Link) error {
	lane := e.conn.lane
	out := lane.outs.Get().(*[]byte)
	defer lane.outs.Put(out)
	b := e.appendRequest((*out)[:0])
	b = append(b, e.body...)
	*out = b
	if err := link.SetDeadline(e.deadline()); err != nil {
		return errUnsent
	}
	n, err := link.Write(b)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return e.expired()
	case n == 0:
		return errUnsent
	}
	return errNoAnswer
}

func (e *exchange) appendRequest(b []byte) []byte {
	r := &e.conn.request
	b = append(b, r.Method...)
	b = append(b, ' ')
	if e.path == "" || e.path[0] != '/' {
		b = append(b, '/')
	}
	b = append(b, e.path...)
	b = append(b, " HTTP/1.1\r\n"...)
	var agent, forwardedFor, forwardedHost, length bool
	for _, h := range r.Headers {
		switch h.Kind {
		case http1.Hop, http1.CallID, http1.StartTime:
			continue
		case http1.Timeout:
			if e.timeout > 0 {
				continue
			}
		case http1.UserAgent:
			agent = len(h.Value) > 0
		case http1.ContentLength:
			length = true
		case http1.ForwardedFor:
			forwardedFor = len(h.Value) > 0
		case http1.ForwardedHost:
			forwardedHost = len(h.Value) > 0
		}
		b = appendHeader(b, h.Name, h.Value)
	}
	if !length && mayHaveBody(r.Method) {
		b = append(b, "Content-Length: 0\r\n"...)
	}
	if !forwardedFor {
		b = appendText(b, lofn.HeaderForwardedFor, e.conn.RemoteAddr().String())
	}
	if !forwardedHost {
		b = appendHeader(b, []byte(lofn.HeaderForwardedHost), r.Host)
	}
	if !agent {
		b = appendText(b, "User-Agent", "lofn-gateway/"+e.conn.lane.gateway.Release)
	}
	b = appendText(b, lofn.HeaderCallID, e.id)
	b = appendText(b, lofn.HeaderStartTime, e.started())
	if e.timeout > 0 {
		b = appendText(b, lofn.HeaderTimeout, e.remaining())
	}
	return append(b, "\r\n"...)
}

// mayHaveBody reports whether a server may want to be told that there is none
// (RFC 9110, 8.6).
func mayHaveBody(method []byte) bool {
	switch string(method) {
	case "POST", "PUT", "PATCH":
		return true
	}
	return false
}

func appendHeader(b, name, value []byte) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

func appendText(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// patience is how long a function may take before somebody looks whether the
// client is still there. Shorter calls do not pay for that.
const patience = 5 * time.Millisecond

// receive reads the head of the function's answer and returns its length.
func (e *exchange) receive(link lofn.Link, reply *http1.Response) (n int, err error) {
	e.got = 0
	if e.timeout == 0 || e.timeout > patience {
		_ = link.SetReadDeadline(time.Now().Add(patience))
	}
	for {
		m, err := link.Read(e.in[e.got:])
		e.got += m
		if m > 0 {
			n, err := reply.Parse(e.in[:e.got])
			if err == http1.ErrIncomplete && e.got < len(e.in) {
				continue
			}
			if err == http1.ErrIncomplete {
				err = http1.ErrUnusual
			}
			return n, err
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			switch {
			case e.isExpired():
				return 0, e.expired()
			case e.watch != nil:
				return 0, errGone
			}
			e.startWatching(link)
		case e.got == 0:
			return 0, errNoAnswer
		default:
			return 0, http1.ErrUnusual
		}
	}
}

// answer passes a plain answer on.
func (e *exchange) answer(link lofn.Link, reply *http1.Response, head int) (keep, reuse bool, err error) {
	bodyless := string(e.conn.request.Method) == "HEAD"
	length := reply.ContentLength
	if bodyless {
		length = 0
	}
	buffered := e.in[head:e.got]
	if int64(len(buffered)) > length {
		// More than was announced: nobody can tell what it belongs to.
		buffered, reply.KeepAlive = buffered[:length], false
	}
	keep = e.conn.request.KeepAlive
	lane := e.conn.lane
	out := lane.outs.Get().(*[]byte)
	defer lane.outs.Put(out)
	b := e.appendReply((*out)[:0], reply, keep)
	b = append(b, buffered...)
	*out = b
	e.limitWrites()
	if _, err := e.conn.Write(b); err != nil {
		return false, false, e.clientGone()
	}
	if left := length - int64(len(buffered)); left > 0 {
		// The deadline was near, to look for the client in time.
		_ = link.SetReadDeadline(e.deadline())
		if _, err := io.CopyN(e.conn.Conn, link, left); err != nil {
			e.end(reply.Status)
			return false, false, errCutOff
		}
	}
	e.end(reply.Status)
	return keep, reply.KeepAlive, nil
}

// errCutOff ends a connection whose answer was begun and cannot be finished.
var errCutOff = errors.New("gateway: the answer was cut off")

// limitWrites bounds the time that a client may take to read.
func (e *exchange) limitWrites() {
	_ = e.conn.SetWriteDeadline(e.deadline())
}

func (e *exchange) appendReply(b []byte, reply *http1.Response, keep bool) []byte {
	b = append(b, reply.Line...)
	b = append(b, "\r\n"...)
	var typed, dated, timed bool
	for _, h := range reply.Headers {
		switch h.Kind {
		case http1.Hop, http1.CallID, http1.StartTime, http1.ServedBy:
			continue
		case http1.ContentType:
			typed = len(h.Value) > 0
		case http1.Date:
			dated = true
		case http1.Duration:
			timed = len(h.Value) > 0
		}
		b = appendHeader(b, h.Name, h.Value)
	}
	if !typed && reply.ContentLength > 0 {
		b = appendText(b, "Content-Type", contentType(string(http1.Value(e.conn.request.Headers, http1.ContentType))))
	}
	if !dated {
		b = appendText(b, "Date", http1.Now())
	}
	if !timed {
		b = appendText(b, lofn.HeaderDurationSeconds, e.took())
	}
	if !keep {
		b = append(b, "Connection: close\r\n"...)
	}
	b = appendText(b, lofn.HeaderCallID, e.id)
	b = appendText(b, lofn.HeaderStartTime, e.started())
	b = appendText(b, lofn.HeaderServedBy, "lofn/"+e.conn.lane.gateway.Release)
	return append(b, "\r\n"...)
}

// fail answers for a call that the function did not answer.
func (e *exchange) fail(replica string, err error) (keep bool, _ error) {
	if lofn.CodeOf(err) != lofn.DeadlineExceeded {
		e.conn.lane.gateway.Log.Warn("a function broke a call off", "function", e.ref, "call", e.id, "reason", err)
		err = lofn.Unreached(e.ref, replica, err)
	}
	w := &plainWriter{header: make(http.Header)}
	e.conn.lane.gateway.sign(w.header, e.call)
	w.header.Set("Date", http1.Now())
	e.conn.lane.gateway.refuse(w, &http.Request{Method: string(e.conn.request.Method), URL: &url.URL{Path: e.path}}, err)
	e.end(w.status)
	var reply bytes.Buffer
	w.writeTo(&reply, e.conn.request.KeepAlive)
	_ = e.conn.SetWriteDeadline(time.Now().Add(bodyTime))
	if _, err := e.conn.Write(reply.Bytes()); err != nil {
		return false, errGone
	}
	return e.conn.request.KeepAlive, nil
}

// end counts the call.
func (e *exchange) end(status int) { e.ended(status, time.Since(e.start)) }

// errGone says that the client has left.
var errGone = errors.New("gateway: the client has gone")

func (e *exchange) clientGone() error {
	e.end(statusClientGone)
	return errGone
}

// plainWriter collects an answer of the platform itself.
type plainWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *plainWriter) Header() http.Header         { return w.header }
func (w *plainWriter) WriteHeader(status int)      { w.status = status }
func (w *plainWriter) Write(p []byte) (int, error) { return w.body.Write(p) }

func (w *plainWriter) writeTo(out *bytes.Buffer, keep bool) {
	resp := http.Response{
		StatusCode: w.status, ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Close: !keep,
		ContentLength: int64(w.body.Len()), Body: io.NopCloser(&w.body),
	}
	_ = resp.Write(out) // a bytes.Buffer takes everything
}
