package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"lofn"
)

// recent is what a query for logs covers that says neither since when nor how
// many.
const recent = 5 * time.Minute

// getLogs answers with a JSON object per line, each sent as soon as it is
// there. A followed stream stays open for as long as the client does.
func (a *API) getLogs(w http.ResponseWriter, r *http.Request) error {
	q, err := a.logQuery(r.URL.Query())
	if err != nil {
		return err
	}
	if _, err := a.Functions.Get(r.Context(), q.Function); err != nil {
		return unknownFunction(q.Function, err)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w).Flush
	if err := flush(); err != nil {
		return nil
	}
	lines := json.NewEncoder(w)
	for line, err := range a.Logs.Logs(r.Context(), q) {
		if err != nil {
			if r.Context().Err() == nil {
				a.Log.Error("log stream broke off", "function", q.Function, "error", err)
			}
			return nil
		}
		message := lofn.LogMessage{
			Name: line.Function.Name, Namespace: line.Function.Namespace,
			Instance: line.Instance, Timestamp: line.Time, Text: line.Text,
		}
		if lines.Encode(message) != nil || flush() != nil {
			return nil // the client left
		}
	}
	return nil
}

func (a *API) logQuery(values url.Values) (lofn.LogQuery, error) {
	q := lofn.LogQuery{
		Function: lofn.Ref{Namespace: last(values, "namespace"), Name: last(values, "name")},
		Instance: last(values, "instance"),
	}
	if q.Function.Name == "" {
		return q, lofn.Errorf(lofn.Invalid, "name: is required: the function whose logs to show")
	}
	if q.Function.Namespace == "" {
		q.Function.Namespace = lofn.DefaultNamespace
	}
	follow := last(values, "follow")
	q.Follow = follow == "1" || follow == "true"

	tail, since := last(values, "tail"), last(values, "since")
	var err error
	if tail != "" {
		if q.Tail, err = strconv.Atoi(tail); err != nil {
			return q, lofn.Errorf(lofn.Unprocessable, "could not parse the log request: tail: %q is not a whole number", tail)
		}
	}
	if since != "" {
		if q.Since, err = time.Parse(time.RFC3339, since); err != nil {
			return q, lofn.Errorf(lofn.Unprocessable, "could not parse the log request: since: %q is not a time such as 2006-01-02T15:04:05Z", since)
		}
	}
	if tail == "" && since == "" {
		q.Since = a.Now().Add(-recent)
	}
	return q, nil
}

// last returns the last value of a repeated parameter.
func last(values url.Values, name string) string {
	if all := values[name]; len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}
