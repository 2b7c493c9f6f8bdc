package telemetry_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/telemetry"
)

var (
	echo = lofn.Ref{Namespace: "openfaas-fn", Name: "echo"}
	cow  = lofn.Ref{Namespace: "farm", Name: "cow"}
)

// samples returns the samples whose names begin with one of the prefixes, as
// Prometheus would read them.
func samples(t *testing.T, m *telemetry.Metrics, prefixes ...string) []string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	var lines []string
	for line := range strings.Lines(w.Body.String()) {
		line = strings.TrimSpace(line)
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(line, p) }) {
			lines = append(lines, line)
		}
	}
	return lines
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRestartsOnlyRise(t *testing.T) {
	m := telemetry.New()
	observe := func(id string, state lofn.State, restarts int) {
		m.Observe(lofn.Replica{Function: echo, ID: id, State: state, Restarts: restarts})
	}
	restarts := func() []string { return samples(t, m, "lofn_replica_restarts_total") }
	observe("a", lofn.Starting, 0)
	expect(t, restarts(), `lofn_replica_restarts_total{function_name="echo.openfaas-fn"} 0`)
	observe("a", lofn.Failed, 0)
	observe("a", lofn.Starting, 1)
	observe("a", lofn.Ready, 1)
	observe("b", lofn.Ready, 3) // those before were missed
	expect(t, restarts(), `lofn_replica_restarts_total{function_name="echo.openfaas-fn"} 4`)
	observe("a", lofn.Gone, 2)
	observe("b", lofn.Gone, 3)
	observe("c", lofn.Ready, 0)
	observe("a", lofn.Starting, 1) // another replica, had it the same name
	expect(t, restarts(), `lofn_replica_restarts_total{function_name="echo.openfaas-fn"} 6`)
	m.Forget(echo)
	expect(t, restarts())
}

func TestWaits(t *testing.T) {
	m := telemetry.New()
	m.Waited(cow, time.Second) // nobody's call
	ended := m.Started(echo)
	m.Waited(echo, 3*time.Millisecond)
	m.Waited(echo, time.Hour)
	got := samples(t, m, "lofn_queue_wait_seconds")
	for _, want := range []string{
		`lofn_queue_wait_seconds_bucket{function_name="echo.openfaas-fn",le="0.0025"} 0`,
		`lofn_queue_wait_seconds_bucket{function_name="echo.openfaas-fn",le="0.005"} 1`,
		`lofn_queue_wait_seconds_bucket{function_name="echo.openfaas-fn",le="300"} 1`,
		`lofn_queue_wait_seconds_bucket{function_name="echo.openfaas-fn",le="+Inf"} 2`,
		`lofn_queue_wait_seconds_count{function_name="echo.openfaas-fn"} 2`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
		}
	}
	if slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "cow") }) {
		t.Errorf("a function of which no call began has waits:\n%s", strings.Join(got, "\n"))
	}
	ended(200, time.Second)
}

func TestForgottenFunctionsHaveNoSeries(t *testing.T) {
	m := telemetry.New()
	for _, ref := range []lofn.Ref{echo, cow} {
		m.Started(ref)(200, time.Second)
		m.Waited(ref, time.Second)
		m.Observe(lofn.Replica{Function: ref, ID: ref.Name, State: lofn.Ready, Restarts: 1})
	}
	late := m.Started(echo)
	m.Forget(echo)
	m.Waited(echo, time.Second)
	late(404, time.Second)
	for _, line := range samples(t, m, "") {
		if strings.Contains(line, echo.Host()) {
			t.Errorf("left of a forgotten function: %s", line)
		}
	}
	if n := m.Invocations(cow); n != 1 {
		t.Errorf("%v calls of the other function", n)
	}
	m.Started(echo)(200, time.Second)
	expect(t, samples(t, m, `gateway_function_invocation_total{code="200",function_name="echo`),
		`gateway_function_invocation_total{code="200",function_name="echo.openfaas-fn"} 1`)
}

func TestConsumptionAndScalings(t *testing.T) {
	m := telemetry.New()
	m.CountConsumption(func(yield func(lofn.Ref, time.Duration, int64)) {
		yield(cow, 1500*time.Millisecond, 4<<20)
	})
	m.CountScalings(func(yield func(lofn.Ref, lofn.Scaling)) {
		yield(cow, lofn.Scaling{Min: 2, Type: lofn.ScaleByCPU, Target: 500, Proportion: .9})
		yield(echo, lofn.Scaling{Min: 1, Target: 50})
	})
	expect(t, samples(t, m, "pod_", "gateway_service"),
		`gateway_service_min{function_name="cow.farm"} 2`,
		`gateway_service_min{function_name="echo.openfaas-fn"} 1`,
		`gateway_service_target{function_name="cow.farm"} 500`,
		`gateway_service_target_load{function_name="cow.farm",scaling_type="cpu"} 500`,
		`pod_cpu_usage_seconds_total{function_name="cow.farm",namespace="farm"} 1.5`,
		`pod_memory_working_set_bytes{function_name="cow.farm",namespace="farm"} 4.194304e+06`)
}

func TestRequestsAreCountedByRoute(t *testing.T) {
	m := telemetry.New()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /system/function/{name}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") == "none" {
			http.Error(w, "none", http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, "fine")
	})
	mux.HandleFunc("POST /system/namespace/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("GET /system/logs", func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("a streamed answer cannot be flushed: %v", err)
		}
	})
	outer := http.NewServeMux() // as the platform has it
	outer.Handle("/system/", m.Requests("", mux))
	outer.Handle("/async-function/", m.Requests("/async-function", http.NotFoundHandler()))
	for _, request := range [][2]string{
		{"GET", "/system/function/a"}, {"GET", "/system/function/b"}, {"HEAD", "/system/function/a"}, {"GET", "/system/function/none"},
		{"POST", "/system/namespace/"}, {"GET", "/system/logs"},
		{"BREW", "/system/function/a"}, {"GET", "/system/no/such/" + strings.Repeat("x", 99)}, {"POST", "/async-function/a"},
	} {
		outer.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), request[0], request[1], nil))
	}
	expect(t, samples(t, m, "http_requests_total"),
		`http_requests_total{method="GET",path="/system/function/{name}",status="200"} 2`,
		`http_requests_total{method="GET",path="/system/function/{name}",status="404"} 1`,
		`http_requests_total{method="GET",path="/system/logs",status="200"} 1`,
		`http_requests_total{method="GET",path="unknown",status="404"} 1`,
		`http_requests_total{method="HEAD",path="/system/function/{name}",status="200"} 1`,
		`http_requests_total{method="POST",path="/async-function",status="404"} 1`,
		`http_requests_total{method="POST",path="/system/namespace/",status="202"} 1`,
		`http_requests_total{method="other",path="unknown",status="405"} 1`)
	if got := samples(t, m, "http_request_duration_seconds_count"); len(got) != 8 {
		t.Errorf("durations:\n%s", strings.Join(got, "\n"))
	}
}
