package pool_test

import (
	"fmt"
	"testing"

	"lofn"
	"lofn/internal/pool"
)

// BenchmarkTryLease is what the pool costs a plain call: one lease and its
// end, on every core at once, of one function among 10,000.
func BenchmarkTryLease(b *testing.B) {
	for _, replicas := range []int{1, 8} {
		b.Run(fmt.Sprint(replicas), func(b *testing.B) {
			p := pool.New(pool.Config{})
			for i := range 10_000 {
				p.Declare(lofn.Function{Ref: lofn.Ref{Namespace: lofn.DefaultNamespace, Name: fmt.Sprint("f", i)}})
			}
			p.Declare(lofn.Function{Ref: echo, Replicas: replicas})
			for i := range replicas {
				p.Update(replica(fmt.Sprint(i), lofn.Ready))
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					l, ok := p.TryLease(echo)
					if !ok {
						b.Error("no lease though replicas are ready")
						return
					}
					l.Release()
				}
			})
		})
	}
}
