package watchdog

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Metrics counts calls under the names that OpenFaaS' watchdogs use, and as a
// handler shows them in Prometheus' text format. The zero value is ready. It
// is safe for concurrent use.
type Metrics struct {
	mu       sync.Mutex
	inFlight int
	calls    map[callKind]*durations
}

type callKind struct {
	status int
	method string
}

// durations is a histogram: counts[i] are the calls that took no longer than
// durationBounds[i] and longer than the bound before it.
type durations struct {
	counts [len(durationBounds) + 1]uint64
	sum    time.Duration
}

var durationBounds = [...]time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// knownMethods are the values of the label method; other methods count as
// "unknown", so that callers cannot make up as many series as they like.
var knownMethods = []string{"GET", "PUT", "HEAD", "POST", "DELETE", "CONNECT", "OPTIONS", "NOTIFY", "TRACE", "PATCH"}

func (m *Metrics) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inFlight++
}

func (m *Metrics) end(status int, method string, took time.Duration) {
	kind := callKind{status, "unknown"}
	if slices.Contains(knownMethods, method) {
		kind.method = method
	}
	bucket, _ := slices.BinarySearch(durationBounds[:], took)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inFlight--
	d := m.calls[kind]
	if d == nil {
		if m.calls == nil {
			m.calls = make(map[callKind]*durations)
		}
		d = &durations{}
		m.calls[kind] = d
	}
	d.counts[bucket]++
	d.sum += took
}

// InFlight returns the number of calls at work.
func (m *Metrics) InFlight() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.inFlight
}

// ServeHTTP shows the metrics.
func (m *Metrics) ServeHTTP(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = rw.Write(m.text())
}

func (m *Metrics) text() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	kinds := slices.SortedFunc(maps.Keys(m.calls), func(a, b callKind) int {
		return cmp.Or(a.status-b.status, strings.Compare(a.method, b.method))
	})
	var out, totals bytes.Buffer
	describe(&out, "http_request_duration_seconds", "histogram", "Seconds spent serving HTTP requests.")
	describe(&totals, "http_requests_total", "counter", "total HTTP requests processed")
	for _, kind := range kinds {
		labels := fmt.Sprintf("code=\"%d\",method=%q", kind.status, strings.ToLower(kind.method))
		count := m.calls[kind].write(&out, labels)
		fmt.Fprintf(&totals, "http_requests_total{%s} %d\n", labels, count)
	}
	describe(&out, "http_requests_in_flight", "gauge", "total HTTP requests in-flight")
	fmt.Fprintf(&out, "http_requests_in_flight %d\n", m.inFlight)
	return append(out.Bytes(), totals.Bytes()...)
}

func describe(out *bytes.Buffer, name, kind, help string) {
	fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (d *durations) write(out *bytes.Buffer, labels string) (total uint64) {
	const name = "http_request_duration_seconds"
	for i, bound := range durationBounds {
		total += d.counts[i]
		fmt.Fprintf(out, "%s_bucket{%s,le=\"%v\"} %d\n", name, labels, bound.Seconds(), total)
	}
	total += d.counts[len(durationBounds)]
	fmt.Fprintf(out, "%s_bucket{%s,le=\"+Inf\"} %d\n", name, labels, total)
	fmt.Fprintf(out, "%s_sum{%s} %v\n%s_count{%s} %d\n", name, labels, d.sum.Seconds(), name, labels, total)
	return total
}
