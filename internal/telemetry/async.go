package telemetry

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lofn"
)

// Async is a source of what the queue of asynchronous calls holds.
type Async func(yield func(lofn.Ref, lofn.QueueCounts))

// asyncGauges are what there is of a function, asyncCounters what there was.
var asyncGauges = []struct {
	name, help string
	value      func(c lofn.QueueCounts) int
}{
	{"gateway_queue_depth", "Asynchronous calls of a function that wait.", func(c lofn.QueueCounts) int { return c.Queued }},
	{"gateway_queue_running", "Asynchronous calls of a function that are under way.", func(c lofn.QueueCounts) int { return c.Running }},
	{"gateway_queue_dead_letters", "Dead asynchronous calls of a function, kept until somebody redrives or drops them.", func(c lofn.QueueCounts) int { return c.Dead }},
	{"gateway_queue_callbacks_pending", "Outcomes that their callbacks have not got yet.", func(c lofn.QueueCounts) int { return c.Callbacks }},
}

// CountAsync adds metrics of the queue, read at each scrape.
func (m *Metrics) CountAsync(queue Async) {
	var descs, gauges []*prometheus.Desc
	for _, g := range asyncGauges {
		gauges = append(gauges, describe(g.name, g.help, "function_name"))
	}
	oldest := describe("gateway_queue_oldest_seconds", "Age of the oldest asynchronous call of a function that waits.", "function_name")
	accepted := describe("gateway_queue_accepted_total", "Asynchronous calls of a function that were accepted.", "function_name")
	retries := describe("gateway_queue_retries_total", "Attempts of asynchronous calls of a function that failed, with another one to come.", "function_name")
	outcomes := describe("gateway_queue_outcomes_total", "Asynchronous calls of a function that came to an end, by how.", "function_name", "state")
	descs = append(append(descs, gauges...), oldest, accepted, retries, outcomes)
	m.registry.MustRegister(reading{descs, func(metrics chan<- prometheus.Metric) {
		now := time.Now()
		queue(func(ref lofn.Ref, c lofn.QueueCounts) {
			name := ref.Host()
			for i, g := range asyncGauges {
				metrics <- gauge(gauges[i], float64(g.value(c)), name)
			}
			age := 0.0
			if c.Oldest != nil {
				age = max(now.Sub(*c.Oldest).Seconds(), 0)
			}
			metrics <- gauge(oldest, age, name)
			metrics <- counter(accepted, float64(c.Accepted), name)
			metrics <- counter(retries, float64(c.Retries), name)
			for state, n := range map[lofn.CallState]uint64{
				lofn.CallSucceeded: c.Succeeded, lofn.CallFailed: c.Failed, lofn.CallDead: c.Died, lofn.CallCancelled: c.Cancelled,
			} {
				metrics <- counter(outcomes, float64(n), name, string(state))
			}
		})
	}})
}

// deliveries count what was made of the queue, as it was made.
type deliveries struct{ attempts, callbacks *prometheus.CounterVec }

func newDeliveries() deliveries {
	return deliveries{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_queue_attempts_total",
			Help: "Attempts at asynchronous calls of a function, by the status that came of them.",
		}, []string{"function_name", "code"}),
		callbacks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_queue_callbacks_total",
			Help: "Attempts at callbacks: delivered, failed if it was the last one, or retried.",
		}, []string{"function_name", "state"}),
	}
}

// Attempted counts an attempt at an asynchronous call.
func (m *Metrics) Attempted(ref lofn.Ref, status int) {
	m.deliveries.attempts.WithLabelValues(ref.Host(), strconv.Itoa(status)).Inc()
}

// CalledBack counts an attempt at a callback: state is lofn.CallSucceeded,
// lofn.CallFailed if it is given up, or lofn.CallQueued.
func (m *Metrics) CalledBack(ref lofn.Ref, state lofn.CallState) {
	name := "retried"
	switch state {
	case lofn.CallSucceeded:
		name = lofn.CallbackDelivered
	case lofn.CallFailed:
		name = lofn.CallbackFailed
	}
	m.deliveries.callbacks.WithLabelValues(ref.Host(), name).Inc()
}

func (d deliveries) forget(label prometheus.Labels) {
	d.attempts.DeletePartialMatch(label)
	d.callbacks.DeletePartialMatch(label)
}
