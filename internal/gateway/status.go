package gateway

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
)

// statusWriter remembers the status that was answered.
type statusWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
	body   *endingBody // the request's, nil if it needs no care
}

func (w *statusWriter) WriteHeader(status int) {
	if !w.wrote {
		w.status = status
		// 1xx come before the final status; 101 is final.
		w.wrote = status >= 200 || status == http.StatusSwitchingProtocols
		if w.wrote && w.body.isOpen() {
			// What is left of the body must not be taken for a request.
			w.Header().Set("Connection", "close")
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach Flush and Hijack.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack takes the connection for another protocol. What the client sent of it
// before it was answered comes first.
func (w *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.status, w.wrote = http.StatusSwitchingProtocols, true
	if n := buffered.Reader.Buffered(); n > 0 {
		early, _ := buffered.Reader.Peek(n) // buffered, so there
		conn = &restConn{Conn: conn, prefix: bytes.Clone(early)}
	}
	return conn, buffered, nil
}

func brokenBody(w http.ResponseWriter) error { return w.(*statusWriter).body.broken() }
