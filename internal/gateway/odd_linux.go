package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"lofn"
	"lofn/internal/http1"
)

// unusual passes the head of any other answer on, as net/http reads it.
func (e *exchange) unusual(data []byte) {
	end := headEnd(data)
	if end == 0 {
		e.await(data)
		return
	}
	source := bufio.NewReader(bytes.NewReader(data[:end]))
	resp, err := http.ReadResponse(source, &http.Request{Method: e.method()})
	switch {
	case err != nil:
		e.broken(fmt.Errorf("its answer cannot be read: %w", err))
	case source.Buffered() > 0:
		e.broken(errors.New("its answer cannot be read"))
	case resp.StatusCode == http.StatusSwitchingProtocols:
		e.broken(errors.New("it switched protocols, which nobody asked for"))
	case resp.StatusCode < http.StatusContinue:
		e.broken(fmt.Errorf("it answered with the status %03d, which is none", resp.StatusCode))
	case resp.StatusCode < 200:
		e.interim(resp, data[end:])
	default:
		e.odd(resp, data[end:])
	}
}

func (e *exchange) method() string {
	if e.bodyless {
		return http.MethodHead
	}
	return http.MethodGet
}

// headEnd returns the length of the head that data begins with, 0 if it does
// not end. It ends with an empty line, however its lines end.
func headEnd(data []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(data[at:], '\n')
		if i < 0 {
			return 0
		}
		at += i + 1
		switch rest := data[at:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return at + 1
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return at + 2
		}
	}
}

// interim passes an interim answer on, and goes on with what follows it.
func (e *exchange) interim(resp *http.Response, rest []byte) {
	e.reply.interims++
	if e.reply.interims > maxInterims {
		e.broken(errors.New("it sent interim answers without end"))
		return
	}
	dropHop(resp.Header)
	resp.Header.Del("Content-Length") // of a body that it cannot have
	var head bytes.Buffer
	writeHead(&head, resp.StatusCode, reason(resp), resp.Header)
	if _, err := e.client.write(head.Bytes(), nil); err != nil {
		e.abandon()
		return
	}
	u := e.upstream
	if len(u.begun) > 0 {
		rest = bytes.Clone(rest)
		u.begun = nil
	}
	if len(rest) > 0 {
		e.interpret(rest)
	}
}

// odd passes the head of an answer on that net/http had to read.
func (e *exchange) odd(resp *http.Response, body []byte) {
	r := &e.reply
	r.status, r.reuse, r.ending = resp.StatusCode, !resp.Close, byLength
	switch {
	case resp.Body == http.NoBody:
	case resp.ContentLength >= 0:
		r.left = resp.ContentLength
	case len(resp.TransferEncoding) > 0:
		r.ending = byChunks
	default:
		r.ending, r.reuse = byClose, false
	}
	e.complete(resp)
	var head bytes.Buffer
	writeHead(&head, resp.StatusCode, reason(resp), resp.Header)
	e.begin(append(e.client.loop.out[:0], head.Bytes()...), body)
}

// complete gives the answer the headers that Gateway.answer gives it.
func (e *exchange) complete(resp *http.Response) {
	h := resp.Header
	length, sized := h["Content-Length"]
	dropHop(h)
	if sized && e.reply.ending == byLength {
		h["Content-Length"] = length // Connection may name it, and without it there is no end
	}
	if h.Get("Content-Type") == "" && resp.ContentLength != 0 {
		h.Set("Content-Type", contentType(e.askedType()))
	}
	setDefault(h, "Date", http1.Now())
	setDefault(h, lofn.HeaderDurationSeconds, e.took())
	e.client.loop.lane.gateway.sign(h, &e.call)
	if e.reply.ending != byLength {
		h.Set("Transfer-Encoding", "chunked")
		for name := range resp.Trailer {
			h.Add("Trailer", name)
		}
	}
	if !e.lastCheck() {
		h.Set("Connection", "close")
	}
}

// reason is what the function calls the status, if that is a text.
func reason(resp *http.Response) string {
	text := strings.TrimSpace(strings.TrimPrefix(resp.Status, strconv.Itoa(resp.StatusCode)))
	if strings.ContainsFunc(text, unicode.IsControl) {
		return http.StatusText(resp.StatusCode)
	}
	return text
}

func writeHead(out *bytes.Buffer, status int, reason string, h http.Header) {
	fmt.Fprintf(out, "HTTP/1.1 %d %s\r\n", status, reason)
	_ = h.Write(out) // a bytes.Buffer takes everything
	_, _ = io.WriteString(out, "\r\n")
}
