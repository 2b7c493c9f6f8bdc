package watchdog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"lofn"
	"lofn/internal/http1"
)

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
		b = appendHeader(b, "Date", http1.Now())
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
	case errors.Is(err, errGone):
		e.status = clientClosedRequest
		return false
	case e.front.server.isKilled():
		cause = errShutdown
	case errors.Is(err, errShutdown):
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		cause = e.limit
	}
	return e.answer(w.unanswered(cause), "", lofn.HeaderInternal, component)
}
