package app

import (
	"fmt"
	"net/http"
	"time"

	"lofn"
	"lofn/internal/pool"
	"lofn/internal/telemetry"
)

// measure adds metrics of what the parts know, to be read at each scrape.
func (p *platform) measure() {
	p.metrics.CountReplicas(func(yield func(lofn.Ref, int, int)) {
		for _, c := range p.reconciler.Counts() {
			yield(c.Function, c.Wanted, c.Ready)
		}
	})
	p.metrics.CountQueues(p.pool.Queues)
	p.metrics.CountAsync(func(yield func(lofn.Ref, lofn.QueueCounts)) {
		// Without a queue there is nothing to count.
		_ = p.async.queue.Counts(func(ref lofn.Ref, c lofn.QueueCounts) {
			// What is left of a removed function's calls is still somebody's to see.
			if _, deployed := p.pool.Policy(ref); deployed || c.Queued+c.Running+c.Dead+c.Callbacks > 0 {
				yield(ref, c)
			}
		})
	})
	p.metrics.CountScalings(p.scaler.Settings)
	p.metrics.CountConsumption(func(yield func(lofn.Ref, time.Duration, int64)) {
		for _, c := range p.provider.Consumption() {
			yield(c.Function, c.CPU, c.MemoryBytes)
		}
	})
}

// observed is a pool that passes on what becomes of replicas.
type observed struct {
	*pool.Pool
	metrics *telemetry.Metrics
}

func (o observed) Update(r lofn.Replica) {
	o.metrics.Observe(r)
	o.Pool.Update(r)
}

func (p *platform) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", p.metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "OK") })
	return mux
}
