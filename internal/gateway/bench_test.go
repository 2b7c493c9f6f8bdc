package gateway_test

import (
	"io"
	"net/http"
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
