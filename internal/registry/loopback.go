package registry

import (
	"fmt"
	"io"
	"net/http"
	"sync"
)

// loopback is an http.RoundTripper that calls a handler in this process,
// without a socket.
type loopback struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper. The answer's body streams from the
// handler, which ends when the body is closed or the request's context ends.
func (l loopback) RoundTrip(req *http.Request) (*http.Response, error) {
	reader, writer := io.Pipe()
	w := &loopbackWriter{header: make(http.Header), body: writer, started: make(chan struct{}), head: req.Method == http.MethodHead}
	go func() {
		defer func() {
			if reason := recover(); reason != nil {
				writer.CloseWithError(fmt.Errorf("the registry failed: %v", reason))
			}
			w.start(http.StatusOK)
			writer.Close()
		}()
		l.handler.ServeHTTP(w, serverSide(req))
	}()
	select {
	case <-w.started:
		return w.response(req, reader), nil
	case <-req.Context().Done():
		reader.CloseWithError(req.Context().Err())
		return nil, req.Context().Err()
	}
}

// serverSide is the request as a server would have received it.
func serverSide(req *http.Request) *http.Request {
	r := req.Clone(req.Context())
	r.RequestURI = req.URL.RequestURI()
	r.RemoteAddr = "127.0.0.1:0"
	if r.Host == "" {
		r.Host = req.URL.Host
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	return r
}

// loopbackWriter is the http.ResponseWriter that the handler sees.
type loopbackWriter struct {
	header http.Header
	body   *io.PipeWriter
	head   bool

	once    sync.Once
	started chan struct{}
	status  int
	// sent is the header as it was when the answer started.
	sent http.Header
}

func (w *loopbackWriter) Header() http.Header { return w.header }

func (w *loopbackWriter) WriteHeader(status int) {
	// Informational answers come before the answer.
	if status >= 200 {
		w.start(status)
	}
}

func (w *loopbackWriter) Write(p []byte) (int, error) {
	w.start(http.StatusOK)
	if w.head {
		return len(p), nil
	}
	return w.body.Write(p)
}

// Flush implements http.Flusher: nothing is held back.
func (w *loopbackWriter) Flush() { w.start(http.StatusOK) }

func (w *loopbackWriter) start(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.started)
	})
}

func (w *loopbackWriter) response(req *http.Request, body io.ReadCloser) *http.Response {
	length := int64(-1)
	if _, err := fmt.Sscan(w.sent.Get("Content-Length"), &length); err != nil {
		length = -1
	}
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		StatusCode:    w.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.sent,
		Body:          body,
		ContentLength: length,
		Request:       req,
	}
}
