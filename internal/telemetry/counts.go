package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lofn"
)

// reading is metrics that are read from a source at each scrape.
type reading struct {
	descs []*prometheus.Desc
	read  func(chan<- prometheus.Metric)
}

// Describe implements prometheus.Collector.
func (r reading) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range r.descs {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (r reading) Collect(metrics chan<- prometheus.Metric) { r.read(metrics) }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

func gauge(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func counter(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
}

// Counts is a source of replica counts: it yields, for every function, how
// many replicas it should have and how many are ready.
type Counts func(yield func(fn lofn.Ref, wanted, ready int))

// CountReplicas adds gauges of the counts, read at each scrape.
func (m *Metrics) CountReplicas(counts Counts) {
	wanted := describe("gateway_service_count", "Replicas that a function should have.", "function_name")
	ready := describe("gateway_service_ready_count", "Replicas of a function that take calls.", "function_name")
	m.registry.MustRegister(reading{[]*prometheus.Desc{wanted, ready}, func(metrics chan<- prometheus.Metric) {
		counts(func(fn lofn.Ref, w, r int) {
			metrics <- gauge(wanted, float64(w), fn.Host())
			metrics <- gauge(ready, float64(r), fn.Host())
		})
	}})
}

// Queues is a source of queue lengths: it yields, for every function, how many
// calls wait for a free replica, and how many were refused because too many
// did.
type Queues func(yield func(fn lofn.Ref, waiting int, refused uint64))

// CountQueues adds metrics of the queues, read at each scrape.
func (m *Metrics) CountQueues(queues Queues) {
	waiting := describe("gateway_function_queue_length", "Calls of a function that wait for a free replica.", "function_name")
	refused := describe("gateway_function_queue_refused_total", "Calls of a function that were refused because too many waited.", "function_name")
	m.registry.MustRegister(reading{[]*prometheus.Desc{waiting, refused}, func(metrics chan<- prometheus.Metric) {
		queues(func(fn lofn.Ref, w int, r uint64) {
			metrics <- gauge(waiting, float64(w), fn.Host())
			metrics <- counter(refused, float64(r), fn.Host())
		})
	}})
}

// Scalings is a source of how functions want to be scaled: it yields what each
// says about it.
type Scalings func(yield func(fn lofn.Ref, s lofn.Scaling))

// CountScalings adds gauges of the settings, read at each scrape. Those of the
// target are there for functions only that are scaled by their load: rules
// tell by them which those are.
func (m *Metrics) CountScalings(scalings Scalings) {
	least := describe("gateway_service_min", "Least replicas of a function that is not at zero.", "function_name")
	target := describe("gateway_service_target", "Load that one replica of a function is meant to have.", "function_name")
	load := describe("gateway_service_target_load", "Load that one replica of a function is meant to have, by the type of the load.", "function_name", "scaling_type")
	m.registry.MustRegister(reading{[]*prometheus.Desc{least, target, load}, func(metrics chan<- prometheus.Metric) {
		scalings(func(fn lofn.Ref, s lofn.Scaling) {
			metrics <- gauge(least, float64(s.Min), fn.Host())
			if s.Type != "" {
				metrics <- gauge(target, s.Target, fn.Host())
				metrics <- gauge(load, s.Target, fn.Host(), string(s.Type))
			}
		})
	}})
}

// Consumption is a source of what functions consume: it yields the CPU time
// that each used since the platform started, which must not decrease, and the
// memory that it has.
type Consumption func(yield func(fn lofn.Ref, cpu time.Duration, memoryBytes int64))

// CountConsumption adds metrics of the consumption, read at each scrape.
func (m *Metrics) CountConsumption(consumption Consumption) {
	cpu := describe("pod_cpu_usage_seconds_total", "CPU time that the replicas of a function used.", "function_name", "namespace")
	memory := describe("pod_memory_working_set_bytes", "Memory that the replicas of a function have.", "function_name", "namespace")
	m.registry.MustRegister(reading{[]*prometheus.Desc{cpu, memory}, func(metrics chan<- prometheus.Metric) {
		consumption(func(fn lofn.Ref, used time.Duration, bytes int64) {
			metrics <- counter(cpu, used.Seconds(), fn.Host(), fn.Namespace)
			metrics <- gauge(memory, float64(bytes), fn.Host(), fn.Namespace)
		})
	}})
}
