package clienttest

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"lofn"
)

// queued is a call and the answer that it ended with.
type queued struct {
	lofn.CallDetail
	answer string
}

// PutCall puts a call with its answer into the queue, or in place of the one
// with its ID.
func (g *Gateway) PutCall(call lofn.CallDetail, answer string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if call.ResultSize == nil && call.Status != 0 {
		size := int64(len(answer))
		call.ResultSize = &size
	}
	if found := g.findCall(call.ID); found != nil {
		*found = queued{call, answer}
		return
	}
	g.calls = append(g.calls, &queued{call, answer})
}

// findCall returns a call, or nil. The caller holds g.mu.
func (g *Gateway) findCall(id string) *queued {
	i := slices.IndexFunc(g.calls, func(c *queued) bool { return c.ID == id })
	if i < 0 {
		return nil
	}
	return g.calls[i]
}

// callAsync accepts a call that then waits for a test to go on with it.
func (g *Gateway) callAsync(w http.ResponseWriter, r *http.Request) {
	size, _ := io.Copy(io.Discard, r.Body)
	id := r.Header.Get(lofn.HeaderCallID)
	if id == "" {
		id = "test-call"
	}
	call := lofn.CallDetail{Method: r.Method, Path: "/" + r.PathValue("rest"), Query: r.URL.RawQuery, Header: r.Header, Size: size}
	call.CallStatus = lofn.CallStatus{
		ID: id, Function: lofn.ParseHost(r.PathValue("name")).Host(), State: lofn.CallQueued, AcceptedAt: time.Unix(1700000000, 0).UTC(),
	}
	if callback := r.Header.Get(lofn.HeaderCallback); callback != "" {
		call.Callback = &lofn.CallbackStatus{URL: callback, State: lofn.CallbackWaiting}
	}
	g.PutCall(call, "")
	w.Header().Set(lofn.HeaderCallID, id)
	w.WriteHeader(http.StatusAccepted)
}

func (g *Gateway) countCalls(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	counts := []lofn.QueueCounts{}
	for _, call := range g.calls {
		if !selects(lofn.CallQuery{Namespace: r.URL.Query().Get("namespace")}, call) {
			continue
		}
		i := slices.IndexFunc(counts, func(c lofn.QueueCounts) bool { return c.Function == call.Function })
		if i < 0 {
			i = len(counts)
			counts = append(counts, lofn.QueueCounts{Function: call.Function})
		}
		addCall(&counts[i], call)
	}
	answer(w, counts)
}

func addCall(c *lofn.QueueCounts, call *queued) {
	c.Accepted++
	c.Retries += uint64(max(call.Attempts-1, 0))
	if call.Callback != nil && call.Callback.State == lofn.CallbackPending {
		c.Callbacks++
	}
	switch call.State {
	case lofn.CallQueued:
		c.Queued++
		if c.Oldest == nil || call.AcceptedAt.Before(*c.Oldest) {
			c.Oldest = &call.AcceptedAt
		}
	case lofn.CallRunning:
		c.Running++
	case lofn.CallDead:
		c.Dead++
		c.Died++
	case lofn.CallSucceeded:
		c.Succeeded++
	case lofn.CallFailed:
		c.Failed++
	case lofn.CallCancelled:
		c.Cancelled++
	}
}

func selects(q lofn.CallQuery, call *queued) bool {
	ref := lofn.ParseHost(call.Function)
	return (q.Namespace == "" || q.Namespace == ref.Namespace) && (q.Name == "" || q.Name == ref.Name) &&
		(len(q.States) == 0 || slices.Contains(q.States, call.State))
}

// mostListed is less than a platform lists, so that a test need not put
// thousands of calls to see what a client does about the others.
const mostListed = 200

func (g *Gateway) listCalls(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	q := lofn.CallQuery{Namespace: query.Get("namespace"), Name: query.Get("function"), Limit: 100}
	if text := query.Get("state"); text != "" {
		for state := range strings.SplitSeq(text, ",") {
			q.States = append(q.States, lofn.CallState(state))
		}
	}
	if text := query.Get("limit"); text != "" {
		q.Limit, _ = strconv.Atoi(text)
	}
	q.Limit = min(q.Limit, mostListed)
	g.mu.Lock()
	defer g.mu.Unlock()
	calls := []lofn.CallStatus{}
	for _, call := range g.calls {
		if selects(q, call) && len(calls) < q.Limit {
			calls = append(calls, call.CallStatus)
		}
	}
	answer(w, calls)
}

// aboutCall is a handler for one call, which it may change.
func (g *Gateway) aboutCall(handle func(http.ResponseWriter, *queued)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		call := g.findCall(r.PathValue("id"))
		if call == nil {
			http.Error(w, "no such call: "+r.PathValue("id"), http.StatusNotFound)
			return
		}
		handle(w, call)
	}
}

func showCall(w http.ResponseWriter, call *queued) { answer(w, call.CallDetail) }

func answerOf(w http.ResponseWriter, call *queued) {
	switch {
	case !call.State.Final():
		http.Error(w, fmt.Sprintf("call %s is %s: it has no outcome yet", call.ID, call.State), http.StatusConflict)
	case call.ResultSize == nil:
		http.Error(w, fmt.Sprintf("call %s ended without an answer: %s", call.ID, call.Reason), http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set(lofn.HeaderFunctionStatus, strconv.Itoa(call.Status))
		w.Header().Set(lofn.HeaderDurationSeconds, "0.250000")
		_, _ = io.WriteString(w, call.answer)
	}
}

func redriveCall(w http.ResponseWriter, call *queued) {
	if call.State != lofn.CallDead {
		notIn(w, call, lofn.CallDead)
		return
	}
	call.State, call.Attempts, call.Status, call.Reason, call.ResultSize, call.EndedAt = lofn.CallQueued, 0, 0, "", nil, nil
	accepted(w, call.CallStatus)
}

// cancelCall leaves one that runs running: it takes a function to stop it.
func cancelCall(w http.ResponseWriter, call *queued) {
	switch {
	case call.State.Final():
		http.Error(w, fmt.Sprintf("call %s has ended: it is %s", call.ID, call.State), http.StatusConflict)
		return
	case call.State == lofn.CallQueued:
		call.State = lofn.CallCancelled
	}
	accepted(w, call.CallStatus)
}

func (g *Gateway) dropCall(w http.ResponseWriter, call *queued) {
	if call.State != lofn.CallDead {
		notIn(w, call, lofn.CallDead)
		return
	}
	g.calls = slices.DeleteFunc(g.calls, func(c *queued) bool { return c == call })
	w.WriteHeader(http.StatusAccepted)
}

func notIn(w http.ResponseWriter, call *queued, want lofn.CallState) {
	http.Error(w, fmt.Sprintf("call %s is not %s: it is %s", call.ID, want, call.State), http.StatusConflict)
}

func accepted(w http.ResponseWriter, status lofn.CallStatus) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	answer(w, status)
}
