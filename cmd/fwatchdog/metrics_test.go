package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMetrics compares the series, and the numbers that do not depend on time.
func TestMetrics(t *testing.T) {
	want := []string{
		`# HELP http_request_duration_seconds Seconds spent serving HTTP requests.`,
		`# HELP http_requests_in_flight total HTTP requests in-flight`,
		`# HELP http_requests_total total HTTP requests processed`,
		`# TYPE http_request_duration_seconds histogram`,
		`# TYPE http_requests_in_flight gauge`,
		`# TYPE http_requests_total counter`,
		`http_request_duration_seconds_bucket{code="200",method="get",le="+Inf"} 1`,
		`http_request_duration_seconds_bucket{code="200",method="post",le="+Inf"} 2`,
		`http_request_duration_seconds_count{code="200",method="get"} 1`,
		`http_request_duration_seconds_count{code="200",method="post"} 2`,
		`http_request_duration_seconds_count{code="405",method="unknown"} 1`,
		`http_requests_in_flight 0`,
		`http_requests_total{code="200",method="get"} 1`,
		`http_requests_total{code="200",method="post"} 2`,
		`http_requests_total{code="405",method="unknown"} 1`,
		`http_requests_total{code="500",method="post"} 1`,
	}
	for _, le := range []string{"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10"} {
		want = append(want, `http_request_duration_seconds_bucket{code="405",method="unknown",le="`+le+`"} 1`)
	}
	for _, p := range everyone(t) {
		if p.name == "of-watchdog" {
			continue // it answers every method; the names are the same package's
		}
		d := start(t, p, handler(t, `[ "$Http_Path" != /fail ]`))
		for _, call := range []string{"GET /", "POST /", "POST /", "POST /fail", "BREW /", "GET /_/health"} {
			method, path, _ := strings.Cut(call, " ")
			do(t, request(t, method, d.url+path, ""))
		}
		a := d.metricsWith(t, want)
		if got := a.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4; charset=utf-8") {
			t.Errorf("%s: Content-Type %q", p.name, got)
		}
		lines := strings.Split(a.body, "\n")
		if !slices.ContainsFunc(lines, regexp.MustCompile(`^http_request_duration_seconds_sum{code="200",method="post"} \d.*$`).MatchString) {
			t.Errorf("%s: no sum", p.name)
		}
		if get(t, "http://"+d.metrics+"/other")[:3] != "404" {
			t.Errorf("%s: more than metrics is served", p.name)
		}
	}
}

func ours(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.Contains(l, "http_") })
}

// TestMetricsOfBothWays counts each call once, whichever way it took.
func TestMetricsOfBothWays(t *testing.T) {
	d := inHTTPMode(t, "max_inflight=1")
	arrived := d.call(t, "/until")
	d.waitFile(t, "hanging")
	for _, header := range []string{"X-Plain", "Proxy-Authorization"} {
		a := do(t, request(t, "POST", d.url, "", header, "1"))
		if a.StatusCode != 429 || a.body != "Concurrent request limit exceeded. Max concurrent requests: 1\n" ||
			a.Header.Get("X-OpenFaaS-Internal") != "faas-middleware" || a.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("%s: %d %q %v", header, a.StatusCode, a.body, a.Header)
		}
	}
	if got := get(t, d.url+"/_/ready"); got != "429 " {
		t.Errorf("ready: %q", got)
	}
	if got := get(t, "http://"+d.metrics+"/metrics"); !strings.Contains(got, "\nhttp_requests_in_flight 1\n") {
		t.Errorf("a call is at work, and the metrics are\n%s", got)
	}
	d.release(t)
	<-arrived
	for _, header := range []string{"X-Plain", "Proxy-Authorization"} {
		if a := do(t, request(t, "GET", d.url+"/status/404", "", header, "1")); a.StatusCode != 404 {
			t.Errorf("%s: %d %q", header, a.StatusCode, a.body)
		}
	}
	d.metricsWith(t, []string{
		`http_requests_total{code="404",method="get"} 2`, `http_requests_total{code="429",method="post"} 2`,
		`http_requests_total{code="200",method="post"} 1`, `http_requests_in_flight 0`,
	})
}

// metricsWith waits for lines in the metrics: a call may be answered a moment
// before it is counted.
func (d *dog) metricsWith(t *testing.T, want []string) (a answer) {
	t.Helper()
	var missing []string
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		a = do(t, request(t, "GET", "http://"+d.metrics+"/metrics", ""))
		lines := strings.Split(a.body, "\n")
		missing = slices.DeleteFunc(slices.Clone(want), func(line string) bool { return slices.Contains(lines, line) })
		if len(missing) == 0 {
			return a
		}
	}
	t.Errorf("the metrics lack\n%s\nof\n%s", strings.Join(missing, "\n"), strings.Join(ours(strings.Split(a.body, "\n")), "\n"))
	return a
}
