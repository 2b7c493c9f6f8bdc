// Package telemetry counts what the platform does and serves the counts to
// Prometheus, under the names of the OpenFaaS contract. It is the only package
// that knows a metrics library.
package telemetry

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lofn"
)

// Metrics is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	seconds  *prometheus.HistogramVec
	total    *prometheus.CounterVec
	started  *prometheus.CounterVec
	inFlight *prometheus.GaugeVec
	starts   *prometheus.HistogramVec
	waits    *prometheus.HistogramVec
	restarts *restarts
	requests requests

	deliveries deliveries

	functions sync.Map // lofn.Ref to *series
	// forgetting is held for writing while a function is forgotten, and for
	// reading while series are added to one, so that none come after that.
	forgetting sync.RWMutex
}

// series holds the metrics of one function, looked up once.
type series struct {
	ref      lofn.Ref
	host     string
	started  prometheus.Counter
	inFlight prometheus.Gauge
	ended    atomic.Uint64
	byStatus sync.Map // int to *outcome
}

// outcome holds the metrics of one function's calls with one status.
type outcome struct {
	seconds prometheus.Observer
	total   prometheus.Counter
}

// New returns the metrics of a platform that has served no call.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "gateway_functions_seconds",
			Help:    "Time that calls of functions took, at the gateway.",
			Buckets: prometheus.DefBuckets,
		}, []string{"function_name", "code"}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_function_invocation_total",
			Help: "Calls of functions that ended.",
		}, []string{"function_name", "code"}),
		started: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_function_invocation_started",
			Help: "Calls of functions that began.",
		}, []string{"function_name"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "gateway_function_invocation_inflight",
			Help: "Calls of functions under way, those held for a replica included.",
		}, []string{"function_name"}),
		starts: newStarts(), waits: newWaits(), restarts: newRestarts(), requests: newRequests(), deliveries: newDeliveries(),
	}
	m.registry.MustRegister(m.seconds, m.total, m.started, m.inFlight, m.starts,
		m.waits, m.restarts.total, m.requests.total, m.requests.seconds, m.deliveries.attempts, m.deliveries.callbacks,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Started counts a call that begins; the function it returns is to be called
// at its end, once. Status 0 says that the call did not end, and that whoever
// goes on with it counts it anew.
func (m *Metrics) Started(ref lofn.Ref) (ended func(status int, took time.Duration)) {
	s := m.of(ref)
	s.started.Inc()
	s.inFlight.Inc()
	return func(status int, took time.Duration) {
		s.inFlight.Dec()
		if status == 0 {
			return
		}
		s.ended.Add(1)
		if o := m.outcome(s, status); o != nil {
			o.total.Inc()
			o.seconds.Observe(took.Seconds())
		}
	}
}

// Invocations returns how many calls of the function ended since the platform
// started.
func (m *Metrics) Invocations(ref lofn.Ref) float64 {
	if s, ok := m.functions.Load(ref); ok {
		return float64(s.(*series).ended.Load())
	}
	return 0
}

// Forget drops the metrics of a function that is gone.
func (m *Metrics) Forget(ref lofn.Ref) {
	m.forgetting.Lock()
	defer m.forgetting.Unlock()
	m.functions.Delete(ref)
	label := prometheus.Labels{"function_name": ref.Host()}
	m.seconds.DeletePartialMatch(label)
	m.total.DeletePartialMatch(label)
	m.starts.DeletePartialMatch(label)
	m.started.Delete(label)
	m.inFlight.Delete(label)
	m.waits.Delete(label)
	m.restarts.total.Delete(label)
	m.deliveries.forget(label)
}

func (m *Metrics) of(ref lofn.Ref) *series {
	if s, ok := m.functions.Load(ref); ok {
		return s.(*series)
	}
	host := ref.Host()
	s, _ := m.functions.LoadOrStore(ref, &series{
		ref: ref, host: host,
		started:  m.started.WithLabelValues(host),
		inFlight: m.inFlight.WithLabelValues(host),
	})
	return s.(*series)
}

// outcome returns the metrics of calls with the status, nil if the function was
// forgotten meanwhile.
func (m *Metrics) outcome(s *series, status int) *outcome {
	if o, ok := s.byStatus.Load(status); ok {
		return o.(*outcome)
	}
	m.forgetting.RLock()
	defer m.forgetting.RUnlock()
	if now, ok := m.functions.Load(s.ref); !ok || now != s {
		return nil
	}
	code := strconv.Itoa(status)
	o, _ := s.byStatus.LoadOrStore(status, &outcome{
		seconds: m.seconds.WithLabelValues(s.host, code),
		total:   m.total.WithLabelValues(s.host, code),
	})
	return o.(*outcome)
}
