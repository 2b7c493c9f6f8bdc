package gateway

import (
	"errors"
	"fmt"
	"strconv"

	"lofn"
	"lofn/internal/http1"
)

// reply is the answer to a call as far as it came.
type reply struct {
	// begun is set when the client got the head.
	begun  bool
	status int
	ending ending
	left   int64 // of a body of known length
	chunks http1.Chunks
	// reuse is whether the function keeps the connection open.
	reuse bool
	// interims counts the interim answers before it.
	interims int
}

// ending is how the end of an answer's body is told.
type ending uint8

const (
	byLength ending = iota
	byChunks
	byClose
)

const (
	// maxHead bounds what comes before the body of an answer, in bytes: what
	// the front door takes of a request.
	maxHead = 1 << 20
	// maxInterims bounds the interim answers, as net/http does.
	maxInterims = 5
)

// receive reads from the function and passes on what comes, as long as the
// client takes it.
func (e *exchange) receive() {
	for range turn {
		u := e.upstream
		if e.over || u == nil || u.connecting || !u.readable || len(e.client.unsent) > 0 {
			return
		}
		if e.reply.begun {
			e.receiveBody()
		} else {
			e.receiveHead()
		}
	}
	if u := e.upstream; u != nil {
		e.client.loop.later(&u.socket)
	}
}

func (e *exchange) receiveHead() {
	u, in := e.upstream, e.client.loop.in
	data := in
	if len(u.begun) > 0 {
		u.begun = append(u.begun, make([]byte, 4<<10)...)
		data = u.begun[len(u.begun)-4<<10:]
	}
	n, err := u.read(data)
	if len(u.begun) > 0 {
		u.begun = u.begun[:len(u.begun)-4<<10+n]
	}
	switch {
	case err == errWouldBlock:
	case err != nil && len(u.begun) > 0:
		e.broken(errHalfHead)
	case err != nil:
		e.broken(errNoAnswer)
	case len(u.begun) > 0:
		e.interpret(u.begun)
	default:
		e.interpret(data[:n])
	}
}

// interpret deals with the beginning of an answer.
func (e *exchange) interpret(data []byte) {
	parsed := &e.client.loop.response
	n, err := parsed.Parse(data)
	switch err {
	case nil:
		e.plain(parsed, data[n:])
	case http1.ErrUnusual:
		e.unusual(data)
	default:
		e.await(data)
	}
}

// await keeps the beginning of a head.
func (e *exchange) await(data []byte) {
	u := e.upstream
	if len(data) >= maxHead {
		e.broken(errors.New("the head of its answer does not end"))
		return
	}
	if len(u.begun) == 0 {
		u.begun = append(u.begun, data...)
	}
}

// plain passes the head of a plain answer on, with what came of the body.
func (e *exchange) plain(head *http1.Response, body []byte) {
	r := &e.reply
	r.status, r.reuse, r.ending = head.Status, head.KeepAlive, byLength
	switch {
	case head.Body == http1.Chunked && !e.bodyless:
		r.ending = byChunks
	case head.Body == http1.Sized && !e.bodyless:
		r.left = head.ContentLength
	}
	e.begin(e.appendReply(e.client.loop.out[:0], head), body)
}

func (e *exchange) appendReply(b []byte, head *http1.Response) []byte {
	b = append(b, head.Line...)
	b = append(b, "\r\n"...)
	var typed, dated, timed bool
	for _, h := range head.Headers {
		switch h.Kind {
		case http1.Hop, http1.CallID, http1.StartTime, http1.ServedBy, http1.TransferEncoding:
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
	if !typed && (head.Body == http1.Chunked || head.Body == http1.Sized && head.ContentLength > 0) {
		b = appendText(b, "Content-Type", contentType(e.askedType()))
	}
	if !dated {
		b = appendText(b, "Date", http1.Now())
	}
	if !timed {
		b = appendText(b, lofn.HeaderDurationSeconds, e.took())
	}
	if e.reply.ending == byChunks {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if !e.lastCheck() {
		b = append(b, "Connection: close\r\n"...)
	}
	b = appendText(b, lofn.HeaderCallID, e.id)
	b = e.appendStarted(b)
	b = appendText(b, lofn.HeaderServedBy, e.client.loop.lane.gateway.servedBy)
	return append(b, "\r\n"...)
}

// askedType is the client's Content-Type.
func (e *exchange) askedType() string {
	return string(e.head[e.contentType.start:e.contentType.end])
}

// begin sends a head and what came of the body with it.
func (e *exchange) begin(out, body []byte) {
	e.reply.begun = true
	e.upstream.begun = nil
	e.pass(out, body)
}

// pass sends out, and then a piece of the body as the client gets it.
func (e *exchange) pass(out, body []byte) {
	out, body, done, err := e.piece(out, body)
	e.client.loop.out = out
	if _, failed := e.client.write(out, body); failed != nil {
		e.abandon()
		return
	}
	e.settle(done, err)
}

// settle goes on after a piece of the body: it was the last one, or it made no
// sense, or there is more to come.
func (e *exchange) settle(done bool, err error) {
	switch {
	case err != nil:
		e.client.loop.lane.gateway.Log.Warn("a function's answer was cut off", "function", e.ref, "call", e.id, "reason", err)
		e.client.close()
	case done:
		r := &e.reply
		e.end(r.status, r.reuse && len(e.upstream.unsent) == 0)
		e.client.answered(e.keep)
	}
}

// piece makes a piece of the body what the client gets: appended to out, or
// rest, which comes after it. done is set if it was the last one. It may change
// body.
func (e *exchange) piece(out, body []byte) (_, rest []byte, done bool, err error) {
	r := &e.reply
	switch r.ending {
	case byLength:
		if int64(len(body)) > r.left {
			// More than was announced: nobody can tell what it belongs to.
			body, r.reuse = body[:r.left], false
		}
		r.left -= int64(len(body))
		return out, body, r.left == 0, nil
	case byClose:
		return appendChunk(out, body), nil, false, nil
	}
	n, used, done, err := r.chunks.Decode(body)
	if err != nil {
		return out, nil, false, errors.New("its chunks cannot be read")
	}
	r.reuse = r.reuse && used == len(body)
	out = appendChunk(out, body[:n])
	if done {
		out, err = e.appendTrailers(out)
	}
	return out, nil, done, err
}

func appendChunk(out, data []byte) []byte {
	if len(data) == 0 {
		return out
	}
	out = strconv.AppendInt(out, int64(len(data)), 16)
	out = append(out, "\r\n"...)
	out = append(out, data...)
	return append(out, "\r\n"...)
}

// appendTrailers appends the end of a chunked body.
func (e *exchange) appendTrailers(out []byte) ([]byte, error) {
	trailers, err := e.reply.chunks.Trailers()
	if err != nil {
		return out, errors.New("its trailers cannot be read")
	}
	out = append(out, "0\r\n"...)
	for _, h := range trailers {
		switch h.Kind {
		case http1.Hop, http1.Odd, http1.TransferEncoding, http1.ContentLength, http1.Host:
			// They would change what was already read (RFC 9110, 6.5.1).
		default:
			out = appendHeader(out, h.Name, h.Value)
		}
	}
	return append(out, "\r\n"...), nil
}

// receiveBody passes on a piece of the body.
func (e *exchange) receiveBody() {
	u, loop := e.upstream, e.client.loop
	n, err := u.read(loop.in)
	switch {
	case err == errWouldBlock:
	case err == nil:
		e.pass(loop.out[:0], loop.in[:n])
	case e.reply.ending != byClose:
		e.settle(false, fmt.Errorf("the connection ended in it: %w", err))
	default:
		if _, err := e.client.write([]byte("0\r\n\r\n"), nil); err != nil {
			e.abandon()
			return
		}
		e.settle(true, nil)
	}
}
