package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"lofn"
)

// Counts is a source of replica counts: it yields, for every function, how
// many replicas it should have and how many are ready.
type Counts func(yield func(fn lofn.Ref, wanted, ready int))

// CountReplicas adds gauges of the counts, read at each scrape.
func (m *Metrics) CountReplicas(counts Counts) {
	label := []string{"function_name"}
	m.registry.MustRegister(&replicaGauges{
		counts: counts,
		wanted: prometheus.NewDesc("gateway_service_count", "Replicas that a function should have.", label, nil),
		ready:  prometheus.NewDesc("gateway_service_ready_count", "Replicas of a function that take calls.", label, nil),
	})
}

type replicaGauges struct {
	counts        Counts
	wanted, ready *prometheus.Desc
}

func (g *replicaGauges) Describe(descs chan<- *prometheus.Desc) {
	descs <- g.wanted
	descs <- g.ready
}

func (g *replicaGauges) Collect(metrics chan<- prometheus.Metric) {
	g.counts(func(fn lofn.Ref, wanted, ready int) {
		metrics <- prometheus.MustNewConstMetric(g.wanted, prometheus.GaugeValue, float64(wanted), fn.Host())
		metrics <- prometheus.MustNewConstMetric(g.ready, prometheus.GaugeValue, float64(ready), fn.Host())
	})
}

// Queues is a source of queue lengths: it yields, for every function, how many
// calls wait for a free replica, and how many were refused because too many
// did.
type Queues func(yield func(fn lofn.Ref, waiting int, refused uint64))

// CountQueues adds metrics of the queues, read at each scrape.
func (m *Metrics) CountQueues(queues Queues) {
	label := []string{"function_name"}
	m.registry.MustRegister(&queueMetrics{
		queues:  queues,
		waiting: prometheus.NewDesc("gateway_function_queue_length", "Calls of a function that wait for a free replica.", label, nil),
		refused: prometheus.NewDesc("gateway_function_queue_refused_total", "Calls of a function that were refused because too many waited.", label, nil),
	})
}

type queueMetrics struct {
	queues           Queues
	waiting, refused *prometheus.Desc
}

func (q *queueMetrics) Describe(descs chan<- *prometheus.Desc) {
	descs <- q.waiting
	descs <- q.refused
}

func (q *queueMetrics) Collect(metrics chan<- prometheus.Metric) {
	q.queues(func(fn lofn.Ref, waiting int, refused uint64) {
		metrics <- prometheus.MustNewConstMetric(q.waiting, prometheus.GaugeValue, float64(waiting), fn.Host())
		metrics <- prometheus.MustNewConstMetric(q.refused, prometheus.CounterValue, float64(refused), fn.Host())
	})
}
