package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lofn"
)

// startBuckets are from what a static program needs to what a large runtime
// does, in seconds.
var startBuckets = []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60}

func newStarts() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "lofn_cold_start_seconds",
		Help:    "Time from a call for a function at zero until its count was on its way (decide), and that the parts of a replica's start took, as far as its provider knows them, and those all together (total).",
		Buckets: startBuckets,
	}, []string{"function_name", "part"})
}

// Woken counts the decision to start a function at zero for a call.
func (m *Metrics) Woken(ref lofn.Ref, took time.Duration) {
	m.starts.WithLabelValues(ref.Host(), "decide").Observe(took.Seconds())
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
