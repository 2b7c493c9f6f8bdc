package api

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"lofn"
)

// alertLabel is the label of an alert that names its function.
const alertLabel = "function_name"

// notification is what Alertmanager posts, as far as it matters here. Its
// version 4 has been the only one since 2017.
type notification struct {
	Receiver string `json:"receiver"`
	Alerts   []struct {
		Status string            `json:"status"`
		Labels map[string]string `json:"labels"`
	} `json:"alerts"`
}

// verdict is what a notification says about one function.
type verdict struct {
	function lofn.Ref
	firing   bool
	alerts   []string
}

// postAlert carries out what Alertmanager says about the load of functions.
//
// Alertmanager sends again what was answered with 5xx, and gives up on all
// else. So an alert that will be as wrong the next time, without a function or
// about one that does not exist, is answered with 400, where the contract has 500;
// what may succeed later is answered with 500. Either way the rest is carried
// out, and the answer lists what was not.
func (a *API) postAlert(w http.ResponseWriter, r *http.Request) error {
	var n notification
	if err := read(w, r, &n); err != nil {
		return err
	}
	if len(n.Alerts) == 0 {
		return lofn.Errorf(lofn.Invalid, "alerts: is missing or empty: a notification of Alertmanager, with at least one alert, is expected")
	}
	verdicts, problems := n.verdicts()
	for _, v := range verdicts {
		if err := a.carryOut(v); err != nil {
			problems = append(problems, err)
		}
	}
	return listed(problems)
}

// verdicts sorts the alerts by function. Where one is about a function that
// another says is over, the one that fires counts, and once.
func (n notification) verdicts() (verdicts []verdict, problems []error) {
	for i, alert := range n.Alerts {
		name := cmp.Or(alert.Labels["alertname"], "without a name")
		firing := alert.Status == "firing"
		function := alert.Labels[alertLabel]
		switch {
		case function == "":
			problems = append(problems, lofn.Errorf(lofn.Invalid, "alerts[%d] (%s): has no label %s: the rule must keep it", i, name, alertLabel))
			continue
		case !firing && alert.Status != "resolved":
			problems = append(problems, lofn.Errorf(lofn.Invalid, "alerts[%d] (%s): status: %q is neither firing nor resolved", i, name, alert.Status))
			continue
		}
		ref := lofn.ParseHost(function)
		at := slices.IndexFunc(verdicts, func(v verdict) bool { return v.function == ref })
		if at < 0 {
			at = len(verdicts)
			verdicts = append(verdicts, verdict{function: ref})
		}
		verdicts[at].firing = verdicts[at].firing || firing
		verdicts[at].alerts = append(verdicts[at].alerts, name)
	}
	return verdicts, problems
}

func (a *API) carryOut(v verdict) error {
	err := a.Scaler.Alert(v.function, v.firing)
	unknown := lofn.CodeOf(err) == lofn.NotFound
	if unknown && !v.firing {
		err = nil // the alert is over because the function is
	}
	log := a.Log.With("function", v.function, "alerts", strings.Join(v.alerts, ","), "firing", v.firing)
	switch {
	case err == nil:
		log.Info("alert taken in")
	case unknown:
		log.Warn("alert about an unknown function")
		return unknownFunction(v.function, err)
	default:
		log.Error("alert not carried out", "error", err)
		return fmt.Errorf("function %s: %w", v.function, err)
	}
	return nil
}

// listed makes one error of all: one of the request's if that is what all are.
func listed(problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	texts := make([]string, len(problems))
	lasting := true
	for i, err := range problems {
		texts[i] = err.Error()
		code := lofn.CodeOf(err)
		lasting = lasting && (code == lofn.Invalid || code == lofn.NotFound)
	}
	text := strings.Join(texts, "\n")
	if lasting {
		return lofn.Errorf(lofn.Invalid, "%s", text)
	}
	return errors.New(text)
}
