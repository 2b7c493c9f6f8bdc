package telemetry_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/telemetry"
)

func scrape(t *testing.T, m *telemetry.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestStartsAreCountedByPart(t *testing.T) {
	m := telemetry.New()
	ref := lofn.Ref{Namespace: "ns", Name: "a"}
	m.ReplicaStarted(lofn.Replica{Function: ref, Startup: lofn.Startup{Prepare: 700 * time.Microsecond, Listen: 40 * time.Second}})
	m.ReplicaStarted(lofn.Replica{Function: ref, Startup: lofn.Startup{Prepare: 300 * time.Microsecond}})
	m.ReplicaStarted(lofn.Replica{Function: ref})
	got := scrape(t, m)
	for _, line := range []string{
		`lofn_cold_start_seconds_bucket{function_name="a.ns",part="prepare",le="0.0005"} 1`,
		`lofn_cold_start_seconds_bucket{function_name="a.ns",part="prepare",le="0.001"} 2`,
		`lofn_cold_start_seconds_bucket{function_name="a.ns",part="listen",le="30"} 0`,
		`lofn_cold_start_seconds_bucket{function_name="a.ns",part="listen",le="60"} 1`,
		`lofn_cold_start_seconds_sum{function_name="a.ns",part="prepare"} 0.001`,
		`lofn_cold_start_seconds_count{function_name="a.ns",part="total"} 2`,
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("there is no line %s in:\n%s", line, got)
		}
	}
	if strings.Contains(got, `part="exec"`) {
		t.Error("a part of which nothing is known is counted")
	}
	m.Forget(ref)
	if strings.Contains(scrape(t, m), "lofn_cold_start_seconds_count") {
		t.Error("the starts of a function that is gone are still counted")
	}
}
