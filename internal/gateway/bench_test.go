package gateway_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// BenchmarkCall is one call after the other over kept connections, from client
// to function and back, all in this process.
func BenchmarkCall(b *testing.B) {
	b.Run("wide", func(b *testing.B) { benchmarkCall(b, wide) })
	b.Run("fast", func(b *testing.B) { benchmarkCall(b, fast) })
}

func benchmarkCall(b *testing.B, d door) {
	p := start(b, d, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, err := http.NewRequest("GET", p.url+"/function/echo", nil)
			if err != nil {
				b.Error(err)
				return
			}
			resp, err := transport.RoundTrip(req)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	})
}

// BenchmarkSubmit is the door alone: the queue takes everything at once.
func BenchmarkSubmit(b *testing.B) {
	functions := deployed{}
	functions.declare(b, echo)
	front := newAsync(functions, taking{enqueue: takeAll})
	header := http.Header{"User-Agent": {"bench"}, "Content-Type": {"application/json"}, "Accept": {"*/*"}, "Content-Length": {"2"}}
	target := &url.URL{Path: "/async-function/echo/path"}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		body := strings.NewReader("")
		for pb.Next() {
			body.Reset("{}")
			w := &nowhere{header: make(http.Header)}
			front.Async(w, &http.Request{Method: "POST", URL: target, Header: header, Body: io.NopCloser(body), ContentLength: 2, Host: "x", RemoteAddr: "127.0.0.1:1"})
			if w.status != http.StatusAccepted {
				b.Error(w.status)
				return
			}
		}
	})
}

// nowhere is an answer that nobody reads.
type nowhere struct {
	header http.Header
	status int
}

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) WriteHeader(status int)      { w.status = status }
func (w *nowhere) Write(p []byte) (int, error) { return len(p), nil }
