package app_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"lofn"
)

// monitoring is where the files for Prometheus, Alertmanager and Grafana are.
const monitoring = "../../monitoring"

// program returns where a program is, and skips the test where it is not
// installed. Debian has two of them under other names.
func program(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed: on Debian, apt install prometheus prometheus-alertmanager", names[0])
	return ""
}

func TestMonitoringFilesAreValid(t *testing.T) {
	for _, check := range []struct {
		program string
		args    []string
	}{
		{"promtool", []string{"check", "config", "prometheus.yml"}},
		{"promtool", []string{"check", "rules", "rules.yml"}},
		{"promtool", []string{"test", "rules", "../internal/app/testdata/rules_test.yml"}},
		{"amtool", []string{"check-config", "alertmanager.yml"}},
	} {
		t.Run(strings.Join(check.args, " "), func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), program(t, check.program), check.args...)
			cmd.Dir = monitoring
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// rules returns the expressions of the rules, and the series that they make.
func rules(t *testing.T) (expressions, series []string) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Record, Alert, Expr string }
		}
	}
	text, err := os.ReadFile(filepath.Join(monitoring, "rules.yml"))
	if err == nil {
		err = yaml.Unmarshal(text, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			expressions = append(expressions, rule.Expr)
			if rule.Record != "" {
				series = append(series, rule.Record)
			}
		}
	}
	return expressions, series
}

// dashboard returns the expressions of the dashboard, with what Grafana puts in
// the place of its variables.
func dashboard(t *testing.T) (expressions []string) {
	t.Helper()
	var file struct {
		Panels []struct {
			Title      string
			Datasource struct{ UID string }
			Targets    []struct {
				Expr       string
				Datasource struct{ UID string }
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(monitoring, "grafana/lofn.json"))
	if err == nil {
		err = json.Unmarshal(text, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$function", ".*", "$__rate_interval", "10s")
	for _, panel := range file.Panels {
		for _, target := range panel.Targets {
			if panel.Datasource.UID != "${datasource}" || target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q has a data source that is not the variable", panel.Title)
			}
			expr := fill.Replace(target.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("panel %q has a variable that is not known: %s", panel.Title, expr)
			}
			expressions = append(expressions, expr)
		}
	}
	return expressions
}

// What is not a name of a metric in an expression: strings, what follows one in
// braces and brackets, a grouping with what stands before it, functions,
// operators.
var (
	notNames = regexp.MustCompile(`"[^"]*"|\{[^}]*\}|\[[^\]]*\]|([a-z]+\s+)?\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|\b(and|or|unless|bool)\b|[a-z_]+\s*\(`)
	isName   = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
)

func metricNames(expression string) []string {
	return isName.FindAllString(notNames.ReplaceAllString(expression, " "), -1)
}

// scrape returns the metrics that the platform shows.
func (p *platform) scrape() string {
	p.Helper()
	resp, err := http.Get(p.MetricsURL + "/metrics")
	if err != nil {
		p.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.Fatal(err)
	}
	return string(text)
}

// exported are the names of the metrics that the platform has data of.
func (p *platform) exported() (names []string) {
	p.Helper()
	for line := range strings.Lines(p.scrape()) {
		if !strings.HasPrefix(line, "#") {
			names = append(names, isName.FindString(line))
		}
	}
	return names
}

func TestMetricsOfRulesAndDashboardsAreExported(t *testing.T) {
	p := newPlatform(t)
	p.start()
	p.push("fn:latest", nil)
	p.must(202, "POST", "/system/functions", labelled("fn", "v1", map[string]string{lofn.LabelScaleType: "rps"}))
	p.must(202, "POST", "/system/scale-function/fn", `{"replicas":0}`)
	p.eventually("it is at zero", func() bool { return status(p, "fn").AvailableReplicas == 0 })
	p.must(200, "GET", "/function/fn", "")
	p.must(202, "POST", "/async-function/fn", "")

	expressions, recorded := rules(t)
	expressions = append(expressions, dashboard(t)...)
	if len(expressions) < 20 {
		t.Fatalf("found only %d expressions: %q", len(expressions), expressions)
	}
	known := append(p.exported(), recorded...)
	known = append(known, "up") // Prometheus' own
	for _, expression := range expressions {
		names := metricNames(expression)
		if len(names) == 0 {
			t.Errorf("found no metric in %s", expression)
		}
		for _, name := range names {
			if !slices.Contains(known, name) {
				t.Errorf("%s is not exported, but asked for in %s", name, expression)
			}
		}
	}

	p.must(202, "DELETE", "/system/functions", `{"functionName":"fn"}`)
	p.eventually("no series is left of a removed function", func() bool { return !strings.Contains(p.scrape(), "fn.openfaas-fn") })
}

// labelled is a deployment of the image fn:latest with labels.
func labelled(name, answer string, labels map[string]string, annotations ...string) string {
	d := lofn.Deployment{
		Service: name, Image: "fn:latest", EnvVars: map[string]string{"answer": answer},
		Labels: labels, Annotations: make(map[string]string),
	}
	for _, pair := range annotations {
		name, value, _ := strings.Cut(pair, "=")
		d.Annotations[name] = value
	}
	data, err := json.Marshal(d)
	if err != nil {
		panic("a deployment has no JSON form: " + err.Error())
	}
	return string(data)
}
