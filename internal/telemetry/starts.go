package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"lofn"
)

// startBuckets are from what a static program needs to what a large runtime
// does, in seconds.
var startBuckets = []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60}

func newStarts() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "lofn_cold_start_seconds",
		Help:    "Time that the parts of a replica's start took, as far as its provider knows them, and all together (total).",
		Buckets: startBuckets,
	}, []string{"function_name", "part"})
}

// ReplicaStarted counts a replica that got ready, by what it says of its start.
func (m *Metrics) ReplicaStarted(r lofn.Replica) {
	host := r.Function.Host()
	for part, took := range r.Startup.Parts() {
		m.starts.WithLabelValues(host, part).Observe(took.Seconds())
	}
	if total := r.Startup.Total(); total > 0 {
		m.starts.WithLabelValues(host, "total").Observe(total.Seconds())
	}
}
