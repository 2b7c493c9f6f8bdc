package gateway

import (
	"encoding/json"
	"net/http"
	"strings"

	"lofn"
	"lofn/internal/outcome"
)

// Below AsyncPrefix, calls/ID is what is known of the call, for whoever knows
// its ID, and calls/ID/result the function's answer. They come before a
// function named calls in the default namespace, which is still reached with
// other methods and under its full name, calls.openfaas-fn.
const (
	outcomePath = "calls/"
	resultPath  = "/result"
)

// outcomeRequest asks about a call.
type outcomeRequest struct {
	id     string
	result bool
	cancel bool
	// bare is set for DELETE of an ID right below the prefix, as in OpenFaaS Pro.
	bare bool
}

// outcomeOf reports what the request asks about a call, if it does.
func (g *Gateway) outcomeOf(r *http.Request, path string) (o outcomeRequest, ok bool) {
	method := r.Method
	if asksForLeave(r) {
		method = r.Header.Get("Access-Control-Request-Method")
	}
	o.cancel = method == http.MethodDelete
	if !o.cancel && method != http.MethodGet && method != http.MethodHead {
		return o, false
	}
	o.id, ok = strings.CutPrefix(path, outcomePath)
	switch {
	case ok && !o.cancel:
		o.id, o.result = strings.CutSuffix(o.id, resultPath)
	case !ok && o.cancel:
		_, deployed := g.Functions.Policy(lofn.ParseHost(path))
		o.id, o.bare, ok = path, true, !deployed
	}
	return o, ok && lofn.ValidCallID(o.id)
}

func (o outcomeRequest) pattern() string {
	switch {
	case o.bare:
		return AsyncPrefix + "{id}"
	case o.result:
		return AsyncPrefix + outcomePath + "{id}" + resultPath
	default:
		return AsyncPrefix + outcomePath + "{id}"
	}
}

func (g *Gateway) serveOutcome(w http.ResponseWriter, r *http.Request, o outcomeRequest) {
	r.Pattern = o.pattern()
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set(lofn.HeaderServedBy, g.servedBy)
	status, err := g.Queue.Status(r.Context(), o.id)
	if err == nil {
		c := g.about(r, status)
		if r.Method == http.MethodOptions {
			g.answerPreflight(w, r, c)
			return
		}
		c.shareOutcome(h)
		err = g.answerOutcome(w, r, o, status)
	}
	if o.bare && lofn.CodeOf(err) == lofn.NotFound {
		err = lofn.Errorf(lofn.NotFound, "error finding function %s, and there is no call %s either", lofn.ParseHost(o.id), o.id)
	}
	if err != nil {
		g.refuse(w, r, g.queueError(o.id, err))
	}
}

// about is the call as far as cors.go wants to know it.
func (g *Gateway) about(r *http.Request, status lofn.CallStatus) *call {
	c := &call{ref: lofn.ParseHost(status.Function), policy: &lofn.Policy{}, origin: r.Header.Get("Origin")}
	if policy, ok := g.Functions.Policy(c.ref); ok {
		c.policy = policy
	}
	return c
}

func (g *Gateway) answerOutcome(w http.ResponseWriter, r *http.Request, o outcomeRequest, status lofn.CallStatus) (err error) {
	code := http.StatusOK
	switch {
	case o.result:
		return outcome.Write(w, r, g.Queue, status)
	case o.cancel:
		code = http.StatusAccepted
		if status, err = g.Queue.Cancel(r.Context(), o.id); err != nil {
			return err
		}
	}
	status.Callback = withoutSecrets(status.Callback)
	data, err := json.Marshal(status)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(data, '\n')) // a client that left does not need to be told
	return nil
}

// withoutSecrets is what strangers may know of a callback: the query of its URL
// may be what the receiver knows its callers by.
func withoutSecrets(c *lofn.CallbackStatus) *lofn.CallbackStatus {
	if c == nil {
		return nil
	}
	shown := *c
	shown.URL, _, _ = strings.Cut(c.URL, "?")
	return &shown
}
