package queue_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/queue"
)

// BenchmarkWorker is what a call costs from the moment at which it is due,
// without the function: taking it, making it and settling it.
func BenchmarkWorker(b *testing.B) {
	for _, functions := range []int{1, 100} {
		b.Run(map[int]string{1: "one function", 100: "100 functions"}[functions], func(b *testing.B) {
			done := make(chan struct{}, b.N)
			w := start(b, queue.Config{Gateway: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				_, _ = w.Write([]byte("done"))
				done <- struct{}{}
			})})
			w.stop()
			refs := make([]lofn.Ref, functions)
			for i := range refs {
				refs[i] = named("f" + strings.Repeat("x", i%40) + string(rune('a'+i/40)))
				w.declare(refs[i], 2, lofn.Spec{})
			}
			for i := range b.N {
				w.submit(lofn.Call{Function: refs[i%functions], Method: "POST", Path: "/", Accepted: time.Now(), Header: http.Header{"Content-Type": {"text/plain"}}}, "body")
			}
			b.ReportAllocs()
			b.ResetTimer()
			w.run()
			for range b.N {
				<-done
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}
