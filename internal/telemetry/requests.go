package telemetry

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requests are the metrics of the control API.
type requests struct {
	total   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newRequests() requests {
	labels := []string{"method", "path", "status"}
	return requests{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total",
			Help: "Requests to the control API and for asynchronous calls that were answered.",
		}, labels),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "http_request_duration_seconds",
			Help:    "Time that requests to the control API and for asynchronous calls took.",
			Buckets: prometheus.DefBuckets,
		}, labels),
	}
}

// Requests counts the requests that next answers. The path that they are
// counted under is the one given or, if that is empty, the pattern of the
// route that the http.ServeMux in next chose: what callers make of a path is
// without bound.
func (m *Metrics) Requests(path string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		counted := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(counted, r)
		labels := []string{method(r.Method), path, strconv.Itoa(counted.status)}
		if path == "" {
			labels[1] = route(r.Pattern)
		}
		m.requests.total.WithLabelValues(labels...).Inc()
		m.requests.seconds.WithLabelValues(labels...).Observe(time.Since(began).Seconds())
	})
}

// route is the path of a pattern as http.ServeMux has them.
func route(pattern string) string {
	_, path, found := strings.Cut(pattern, " ")
	if !found {
		path = pattern
	}
	path = strings.TrimSuffix(path, "{$}")
	if path == "" {
		return "unknown"
	}
	return path
}

// method bounds what callers can make of a method.
func method(name string) string {
	known := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodHead, http.MethodOptions, http.MethodPatch}
	if slices.Contains(known, name) {
		return name
	}
	return "other"
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
	begun  bool
}

func (w *statusWriter) WriteHeader(status int) {
	if !w.begun && status >= http.StatusOK {
		w.status, w.begun = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(p)
}

// Unwrap gives http.ResponseController what is underneath.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
