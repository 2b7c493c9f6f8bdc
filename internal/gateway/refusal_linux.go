package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"lofn"
	"lofn/internal/http1"
)

// fail answers for a call that the function did not answer.
func (e *exchange) fail(err error) {
	gateway := e.client.loop.lane.gateway
	var known *lofn.Error
	if !errors.As(err, &known) {
		gateway.Log.Warn("a function broke a call off", "function", e.ref, "call", e.id, "reason", err)
		replica := ""
		if e.lease != nil {
			replica = e.lease.Replica().ID
		}
		err = lofn.Unreached(e.ref, replica, err)
	}
	w := &plainWriter{header: make(http.Header)}
	gateway.sign(w.header, &e.call)
	w.header.Set("Date", http1.Now())
	line := bytes.Fields(e.head[:bytes.IndexByte(e.head, '\n')])
	gateway.refuse(w, &http.Request{Method: string(line[0]), URL: &url.URL{Path: string(line[1])}}, err)
	keep := e.lastCheck()
	var answer bytes.Buffer
	w.writeTo(&answer, keep, e.bodyless)
	e.reply.begun, e.reply.status = true, w.status
	if _, err := e.client.write(answer.Bytes(), nil); err != nil {
		e.abandon()
		return
	}
	e.end(w.status, false)
	e.client.answered(keep)
}

// lastCheck reports whether the connection goes on after this answer.
func (e *exchange) lastCheck() bool {
	e.keep = e.keep && !e.client.loop.lane.closing.Load()
	return e.keep
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

func (w *plainWriter) writeTo(out *bytes.Buffer, keep, bodyless bool) {
	w.header.Set("Content-Length", strconv.Itoa(w.body.Len()))
	if !keep {
		w.header.Set("Connection", "close")
	}
	writeHead(out, w.status, http.StatusText(w.status), w.header)
	if !bodyless {
		_, _ = io.Copy(out, &w.body) // a bytes.Buffer takes everything
	}
}
