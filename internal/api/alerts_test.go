package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"lofn"
	"lofn/internal/scale"
)

// alerted is a scaler to which alerts are about the functions echo and cow, and
// the function sick, with which it has trouble.
type alerted struct {
	*scale.Scaler
	mu    sync.Mutex
	heard []string
}

func (a *alerted) Alert(ref lofn.Ref, firing bool) error {
	switch ref.Name {
	case "echo", "cow":
		a.mu.Lock()
		defer a.mu.Unlock()
		a.heard = append(a.heard, fmt.Sprint(ref, " ", firing))
		return nil
	case "sick":
		return errors.New("the store is away")
	}
	return lofn.Errorf(lofn.NotFound, "no function %s", ref)
}

// alertsOf is a notification about functions, each as "name" or "name.namespace",
// with a '-' before one whose alert is over.
func alertsOf(functions ...string) string {
	var alerts []string
	for _, f := range functions {
		name, over := strings.CutPrefix(f, "-")
		alerts = append(alerts, fmt.Sprintf(
			`{"status":%q,"labels":{"alertname":"APIHighInvocationRate","function_name":%q,"severity":"major"},"annotations":{"summary":"x"},"startsAt":"2026-01-02T03:04:05Z","fingerprint":"1"}`,
			map[bool]string{false: "firing", true: "resolved"}[over], name))
	}
	return `{"version":"4","groupKey":"{}","truncatedAlerts":0,"status":"firing","receiver":"scale-up","groupLabels":{},"commonLabels":{},"externalURL":"http://x","alerts":[` + strings.Join(alerts, ",") + `]}`
}

func TestAlerts(t *testing.T) {
	for _, test := range []struct {
		name, body string
		status     int
		answer     []string // lines
		heard      []string
	}{
		{"firing", alertsOf("echo.openfaas-fn"), 200, nil, []string{"echo.openfaas-fn true"}},
		{"over", alertsOf("-echo.openfaas-fn"), 200, nil, []string{"echo.openfaas-fn false"}},
		{"a bare name is in the default namespace", alertsOf("echo"), 200, nil, []string{"echo.openfaas-fn true"}},
		{"another namespace", alertsOf("echo.dev"), 200, nil, []string{"echo.dev true"}},
		{"several functions", alertsOf("echo", "-cow"), 200, nil, []string{"echo.openfaas-fn true", "cow.openfaas-fn false"}},
		{"one step for each function", alertsOf("echo", "echo.openfaas-fn"), 200, nil, []string{"echo.openfaas-fn true"}},
		{"the one that fires counts", alertsOf("echo", "-echo"), 200, nil, []string{"echo.openfaas-fn true"}},
		{"a function that is gone needs nothing undone", alertsOf("-gone"), 200, nil, nil},

		{"an unknown function, and the rest", alertsOf("gone", "cow"), 400,
			[]string{`function "gone" does not exist in namespace "openfaas-fn"`}, []string{"cow.openfaas-fn true"}},
		{"no function, and the rest", alertsOf("", "cow"), 400,
			[]string{"alerts[0] (APIHighInvocationRate): has no label function_name: the rule must keep it"}, []string{"cow.openfaas-fn true"}},
		{"what may succeed later is to be sent again", alertsOf("gone", "sick", "cow"), 500,
			[]string{`function "gone" does not exist in namespace "openfaas-fn"`, "function sick.openfaas-fn: the store is away"}, []string{"cow.openfaas-fn true"}},
		{"another status", strings.Replace(alertsOf("echo"), `"firing","labels"`, `"smouldering","labels"`, 1), 400,
			[]string{`alerts[0] (APIHighInvocationRate): status: "smouldering" is neither firing nor resolved`}, nil},
		{"no alerts", `{"status":"firing","alerts":[]}`, 400,
			[]string{"alerts: is missing or empty: a notification of Alertmanager, with at least one alert, is expected"}, nil},
		{"nothing of a notification", `{}`, 400,
			[]string{"alerts: is missing or empty: a notification of Alertmanager, with at least one alert, is expected"}, nil},
		{"empty", ``, 400, []string{"body: is empty, JSON is expected"}, nil},
		{"not JSON", `status=firing`, 400, []string{"body: is not valid JSON: invalid character 's' looking for beginning of value"}, nil},
		{"alerts that are none", `{"alerts":"all"}`, 400, []string{"body: alerts: must be an array, not a JSON string"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := start(t)
			status, answer := s.do("POST", "/system/alert", test.body)
			want := strings.Join(test.answer, "\n")
			if status != test.status || strings.TrimSpace(answer) != want {
				t.Errorf("got %d %q, want %d %q", status, answer, test.status, want)
			}
			if !slices.Equal(s.scaler.heard, test.heard) {
				t.Errorf("the scaler was told %q, want %q", s.scaler.heard, test.heard)
			}
		})
	}
}

func TestAlertsNeedThePassword(t *testing.T) {
	s := start(t)
	resp, err := http.Post(s.url+"/system/alert", "application/json", strings.NewReader(alertsOf("echo")))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 401 || len(s.scaler.heard) > 0 {
		t.Errorf("without password: %d, the scaler was told %q", resp.StatusCode, s.scaler.heard)
	}
}
