package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lofn"
)

// restarts counts how often replicas were started again after they failed.
type restarts struct {
	total *prometheus.CounterVec

	mu sync.Mutex
	// counted is how many were counted of each replica that was ever started
	// again.
	counted map[string]int
}

func newRestarts() *restarts {
	return &restarts{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lofn_replica_restarts_total",
			Help: "How often replicas of a function were started again after they failed.",
		}, []string{"function_name"}),
		counted: make(map[string]int),
	}
}

// Observe takes in the state of a replica. States may be left out, as they are
// by a slow watcher, but not out of order.
func (m *Metrics) Observe(r lofn.Replica) {
	m.restarts.mu.Lock()
	defer m.restarts.mu.Unlock()
	counted := m.restarts.counted
	// Without a restart too: a rise from 0 is seen only if there was a 0.
	m.restarts.total.WithLabelValues(r.Function.Host()).Add(float64(max(0, r.Restarts-counted[r.ID])))
	switch {
	case r.State == lofn.Gone:
		delete(counted, r.ID)
	case r.Restarts > 0:
		counted[r.ID] = r.Restarts
	}
}

// newWaits has buckets from a warm call's to those of a long queue.
func newWaits() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "lofn_queue_wait_seconds",
		Help:    "Time that calls waited for a free replica, of those that had to.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
	}, []string{"function_name"})
}

// Waited counts a call that waited for a free replica, whatever came of it. It
// comes between the start of the call and its end.
func (m *Metrics) Waited(ref lofn.Ref, took time.Duration) {
	m.forgetting.RLock()
	defer m.forgetting.RUnlock()
	if _, ok := m.functions.Load(ref); ok {
		m.waits.WithLabelValues(ref.Host()).Observe(took.Seconds())
	}
}
