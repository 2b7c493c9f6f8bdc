package app_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lofn"
)

// patience is for what passes through several programs, each with times of its
// own, on a machine that may be busy.
const patience = 5 * time.Minute

// daemon is a Prometheus or an Alertmanager, as its maker built it.
type daemon struct {
	*platform
	address string
	cmd     *exec.Cmd
	output  said
}

// run starts a program whose arguments have it listen at the address, and waits
// until it is ready.
func (p *platform) run(path, address string, args ...string) *daemon {
	p.Helper()
	d := &daemon{platform: p, address: address, cmd: exec.Command(path, args...)}
	d.cmd.Dir = p.TempDir()
	d.cmd.Stdout, d.cmd.Stderr = &d.output, &d.output
	if err := d.cmd.Start(); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() {
		d.kill()
		if p.Failed() {
			p.Logf("the output of %s ends:\n%s", filepath.Base(path), tail(d.output.String(), 2000))
		}
	})
	p.eventually(path+" is ready", func() bool {
		resp, err := http.Get("http://" + address + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return d
}

func (d *daemon) kill() {
	_ = d.cmd.Process.Kill()
	_ = d.cmd.Wait()
}

// freeAddress is one that nothing listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// shipped copies a file of ours to a folder, with other addresses and shorter
// times: pairs of what is there and what shall be.
func shipped(t *testing.T, dir, name string, pairs ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoring, name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(string(text), pairs[i]) {
			t.Fatalf("%s has no %q", name, pairs[i])
		}
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// startPrometheus starts one with our files, at an address, that tells an
// Alertmanager.
func (p *platform) startPrometheus(path, address, alertmanager string) *daemon {
	p.Helper()
	dir := p.TempDir()
	shipped(p.T, dir, "rules.yml", "for: 5s", "for: 1s")
	config := shipped(p.T, dir, "prometheus.yml", "interval: 5s", "interval: 1s",
		"127.0.0.1:8082", strings.TrimPrefix(p.MetricsURL, "http://"), "127.0.0.1:9093", alertmanager)
	return p.run(path, address, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
}

// startAlertmanager starts one with our file that tells the platform.
func (p *platform) startAlertmanager(path string) *daemon {
	p.Helper()
	dir, address := p.TempDir(), freeAddress(p.T)
	config := shipped(p.T, dir, "alertmanager.yml", "http://127.0.0.1:8080", p.URL,
		"/etc/prometheus/lofn-password", filepath.Join(p.data, "secrets/basic-auth-password"),
		"group_wait: 5s", "group_wait: 1s", "group_interval: 10s", "group_interval: 1s", "repeat_interval: 30s", "repeat_interval: 2s")
	return p.run(path, address, "--config.file="+config, "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--cluster.listen-address=")
}

// series returns how many series an expression yields now.
func (d *daemon) series(expression string) (int, error) {
	resp, err := http.PostForm("http://"+d.address+"/api/v1/query", url.Values{"query": {expression}})
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Error != "" {
		return 0, errors.New(answer.Error)
	}
	return len(answer.Data.Result), nil
}

// hasData waits until there are series for each of the expressions.
func (d *daemon) hasData(expressions []string) {
	d.Helper()
	for _, expression := range expressions {
		d.within(patience, "there are data for "+expression, func() bool {
			n, err := d.series(expression)
			if err != nil {
				d.Fatalf("%s: %v", expression, err)
			}
			return n > 0
		})
	}
}

// press calls a function some twenty times a second, until what it returns is
// called.
func (p *platform) press(path string) (stop func()) {
	over := make(chan struct{})
	var caller sync.WaitGroup
	caller.Go(func() {
		pace := time.NewTicker(50 * time.Millisecond)
		defer pace.Stop()
		for {
			if code, answer := p.do("GET", path, ""); code != http.StatusOK {
				p.Errorf("%s was answered %d %s", path, code, answer)
				return
			}
			select {
			case <-pace.C:
			case <-over:
				return
			}
		}
	})
	return sync.OnceFunc(func() { close(over); caller.Wait() })
}

// known are queries as dashboards for OpenFaaS have them, by the names and the
// labels that those select and group by.
var known = []string{
	`sum by (function_name) (rate(gateway_function_invocation_total{function_name=~"pressed.*",code="200"}[10s]))`,
	`sum(increase(gateway_function_invocation_total{function_name="pressed.openfaas-fn",code=~"4.."}[10s])) >= 0`,
	`rate(gateway_functions_seconds_sum{function_name=~".+"}[10s]) / rate(gateway_functions_seconds_count{function_name=~".+"}[10s])`,
	`histogram_quantile(0.95, sum by (function_name, le) (rate(gateway_functions_seconds_bucket{code="200"}[10s])))`,
	`gateway_service_count{function_name="pressed.openfaas-fn"}`,
	`gateway_service_ready_count{function_name="pressed.openfaas-fn"}`,
	`gateway_service_min{function_name="pressed.openfaas-fn"}`,
	`gateway_service_target_load{function_name="typed.openfaas-fn",scaling_type="rps"}`,
	`gateway_function_invocation_started{function_name="pressed.openfaas-fn"}`,
	`gateway_function_invocation_inflight{function_name="pressed.openfaas-fn"}`,
	`http_requests_total{method="POST",path="/system/functions",status="202"}`,
	`sum by (le) (rate(http_request_duration_seconds_bucket{path=~"/system/.*"}[10s]))`,
	`rate(pod_cpu_usage_seconds_total{function_name="pressed.openfaas-fn",namespace="openfaas-fn"}[10s])`,
	`pod_memory_working_set_bytes{function_name="pressed.openfaas-fn",namespace="openfaas-fn"} > 0`,
	`job:function_current_load:sum{function_name="typed.openfaas-fn",scaling_type="rps"}`,
}

func TestAnAlertScales(t *testing.T) {
	prometheus, alertmanager := program(t, "prometheus"), program(t, "prometheus-alertmanager", "alertmanager")
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	p := newPlatform(t)
	p.start()
	p.push("fn:latest", nil)
	p.must(202, "POST", "/system/functions", labelled("pressed", "v1", map[string]string{lofn.LabelScaleMax: "3", lofn.LabelScaleFactor: "50"}))
	p.must(202, "POST", "/system/functions", labelled("typed", "v1", map[string]string{lofn.LabelScaleType: "rps"}))
	am := p.startAlertmanager(alertmanager)
	prom := p.startPrometheus(prometheus, freeAddress(t), am.address)

	stop, stopTyped := p.press("/function/pressed"), p.press("/function/typed")
	defer stop()
	defer stopTyped()
	p.must(404, "GET", "/function/pressed/secret/none", "")
	p.must(202, "POST", "/async-function/pressed", "")
	p.within(patience, "the alert has raised the replicas", func() bool { return status(p, "pressed").AvailableReplicas == 3 })
	if s := status(p, "pressed").Scaling; s == nil || !strings.Contains(s.Reason, "alert") {
		t.Errorf("the scaler says %+v", s)
	}
	prom.hasData(dashboard(t))
	prom.hasData(known)
	if n := status(p, "typed").Replicas; n != 1 {
		t.Errorf("the function that is scaled by its load has %d replicas for less than its target", n)
	}

	stop()
	stopTyped()
	p.within(patience, "the replicas are back at the minimum", func() bool { return status(p, "pressed").AvailableReplicas == 1 })
	if n, err := prom.series(`ALERTS{alertname="APIHighInvocationRate"}`); n != 0 || err != nil {
		t.Errorf("%d alerts still fire, %v", n, err)
	}
}

func TestAQueryScales(t *testing.T) {
	prometheus := program(t, "prometheus")
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	p := newPlatform(t)
	address := freeAddress(t)
	p.prometheus = "http://" + address
	p.start() // nothing answers there yet
	p.push("fn:latest", nil)
	p.must(400, "POST", "/system/functions", labelled("fn", "v1", map[string]string{}, lofn.AnnotationScaleQuery+"=up"))
	p.must(202, "POST", "/system/functions", labelled("fn", "v1",
		map[string]string{lofn.LabelScaleType: "calls", lofn.LabelScaleTarget: "10", lofn.LabelScaleProportion: "1"},
		lofn.AnnotationScaleQuery+`=gateway_function_invocation_started{function_name="fn.openfaas-fn"}`))
	problem := func(part string) bool {
		s := status(p, "fn").Scaling
		return s != nil && strings.Contains(s.Problem, part) && s.Replicas == int(status(p, "fn").Replicas)
	}
	p.eventually("it says that Prometheus does not answer", func() bool { return problem(p.prometheus) })

	prom := p.startPrometheus(prometheus, address, "127.0.0.1:1")
	for n := range 25 {
		p.must(200, "POST", "/function/fn", fmt.Sprint(n))
	}
	p.within(patience, "the query has raised the replicas", func() bool { return status(p, "fn").AvailableReplicas == 3 })
	if s := status(p, "fn").Scaling; s.Problem != "" || s.Load <= 0 || s.Load > 25 || s.Type != "calls" {
		t.Errorf("the scaler says %+v", s)
	}

	prom.kill()
	p.eventually("it says again that Prometheus does not answer", func() bool { return problem(p.prometheus) })
	if s := status(p, "fn"); s.Replicas != 3 || s.AvailableReplicas != 3 {
		t.Errorf("without Prometheus it has %d replicas, %d of them ready", s.Replicas, s.AvailableReplicas)
	}
}

func TestABadPrometheusURLIsSaidAtTheStart(t *testing.T) {
	p := newPlatform(t)
	p.prometheus = "127.0.0.1:9090"
	if said := p.startInVain(); !strings.Contains(said, "--prometheus-url: ") || !strings.Contains(said, "http://127.0.0.1:9090") {
		t.Errorf("it said %q", said)
	}
}
