package mem_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/queue/mem"
)

var echo = lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}

// BenchmarkRound takes a call from its submit to its outcome.
func BenchmarkRound(b *testing.B) {
	q, err := mem.New(lofn.DefaultQueueLimits, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			if _, err := q.Enqueue(ctx, lofn.Submission{Call: lofn.Call{Function: echo, Method: "POST", Path: "/", Accepted: time.Now()}, Body: strings.NewReader("hi")}); err != nil {
				b.Fatal(err)
			}
			ds, err := q.Take(ctx, lofn.Lane{Function: echo}, 1)
			if err != nil {
				b.Fatal(err)
			}
			for _, d := range ds {
				if err := d.Settle(ctx, lofn.Settlement{State: lofn.CallSucceeded, Status: 200}); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
