package api

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"lofn"
	"lofn/internal/outcome"
	"lofn/internal/problem"
)

// queue keeps the calls that nobody waits for. lofn.Queue says what is promised.
type queue interface {
	Status(ctx context.Context, id string) (lofn.CallStatus, error)
	Request(ctx context.Context, id string) (lofn.Call, error)
	Result(ctx context.Context, id string) (lofn.Result, error)
	List(ctx context.Context, q lofn.CallQuery) ([]lofn.CallStatus, error)
	Counts(yield func(lofn.Ref, lofn.QueueCounts)) error
	Cancel(ctx context.Context, id string) (lofn.CallStatus, error)
	Redrive(ctx context.Context, id string) (lofn.CallStatus, error)
	Drop(ctx context.Context, id string) error
}

// queueRoutes are lofn's own, since OpenFaaS shows nothing of its queue.
func (a *API) queueRoutes() map[string]problem.Handler {
	routes := map[string]problem.Handler{
		"GET /system/queue":                     a.countQueue,
		"GET /system/queue/calls":               a.listCalls,
		"GET /system/queue/calls/{id}":          a.getCall,
		"DELETE /system/queue/calls/{id}":       a.dropCall,
		"GET /system/queue/calls/{id}/result":   a.getResult,
		"POST /system/queue/calls/{id}/redrive": a.redriveCall,
		"POST /system/queue/calls/{id}/cancel":  a.cancelCall,
	}
	if a.Queue != nil {
		return routes
	}
	for pattern := range routes {
		routes[pattern] = func(http.ResponseWriter, *http.Request) error {
			return lofn.Errorf(lofn.Unimplemented, "this lofn has no queue for asynchronous calls")
		}
	}
	return routes
}

// countQueue answers for all namespaces unless one is asked for.
func (a *API) countQueue(w http.ResponseWriter, r *http.Request) error {
	namespace := r.URL.Query().Get("namespace")
	list := []lofn.QueueCounts{}
	if err := a.Queue.Counts(func(ref lofn.Ref, counts lofn.QueueCounts) {
		if namespace == "" || namespace == ref.Namespace {
			list = append(list, counts)
		}
	}); err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b lofn.QueueCounts) int { return cmp.Compare(a.Function, b.Function) })
	return answer(w, http.StatusOK, list)
}

func (a *API) listCalls(w http.ResponseWriter, r *http.Request) error {
	q, err := callQuery(r.URL.Query())
	if err != nil {
		return err
	}
	list, err := a.Queue.List(r.Context(), q)
	if err != nil {
		return err
	}
	if list == nil {
		list = []lofn.CallStatus{}
	}
	return answer(w, http.StatusOK, list)
}

const (
	defaultCalls = 100
	maxCalls     = 10_000
)

func callQuery(values url.Values) (q lofn.CallQuery, err error) {
	q.Namespace, q.Name, q.Limit = last(values, "namespace"), last(values, "function"), defaultCalls
	if strings.Contains(q.Name, ".") {
		ref := lofn.ParseHost(q.Name)
		if q.Namespace != "" && q.Namespace != ref.Namespace {
			return q, lofn.Errorf(lofn.Invalid, "function: %q is not in namespace %q: name one namespace", q.Name, q.Namespace)
		}
		q.Namespace, q.Name = ref.Namespace, ref.Name
	}
	if text := last(values, "limit"); text != "" {
		q.Limit, err = strconv.Atoi(text)
		if err != nil || q.Limit < 1 || q.Limit > maxCalls {
			return q, lofn.Errorf(lofn.Invalid, "limit: %q is not a whole number from 1 to %d", text, maxCalls)
		}
	}
	q.States, err = callStates(values["state"])
	return q, err
}

// callStates reads lists of states, separated by commas.
func callStates(lists []string) (states []lofn.CallState, err error) {
	for name := range strings.SplitSeq(strings.Join(lists, ","), ",") {
		state := lofn.CallState(strings.TrimSpace(name))
		switch {
		case state == "":
		case !slices.Contains(lofn.CallStates[:], state):
			return nil, lofn.Errorf(lofn.Invalid, "state: %q is none: use some of %v, separated by commas", name, lofn.CallStates)
		default:
			states = append(states, state)
		}
	}
	return states, nil
}

// getCall answers with the request too, for whoever has to find out why a call
// is dead.
func (a *API) getCall(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	status, err := a.Queue.Status(r.Context(), id)
	if err != nil {
		return err
	}
	call, err := a.Queue.Request(r.Context(), id)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, lofn.CallDetail{
		CallStatus: status, Method: call.Method, Path: call.Path, Query: call.Query, Header: shown(call.Header), Size: call.Size,
	})
}

// shown hides what lets somebody pass for the caller.
func shown(header http.Header) http.Header {
	header = header.Clone()
	for _, name := range []string{"Authorization", "Cookie"} {
		for i := range header[name] {
			header[name][i] = "(hidden)"
		}
	}
	return header
}

func (a *API) getResult(w http.ResponseWriter, r *http.Request) error {
	status, err := a.Queue.Status(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return outcome.Write(w, r, a.Queue, status)
}

// changeTime is how long a change of a call may wait for the queue, whose
// server may be away.
const changeTime = 30 * time.Second

func (a *API) redriveCall(w http.ResponseWriter, r *http.Request) error {
	return a.changeCall(w, r, "redriven", a.Queue.Redrive)
}

func (a *API) cancelCall(w http.ResponseWriter, r *http.Request) error {
	return a.changeCall(w, r, "cancelled", a.Queue.Cancel)
}

func (a *API) changeCall(w http.ResponseWriter, r *http.Request, how string, change func(context.Context, string) (lofn.CallStatus, error)) error {
	ctx, cancel := context.WithTimeout(r.Context(), changeTime)
	defer cancel()
	status, err := change(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	a.Log.Debug("call "+how, "call", status.ID, "function", status.Function)
	return answer(w, http.StatusAccepted, status)
}

func (a *API) dropCall(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	ctx, cancel := context.WithTimeout(r.Context(), changeTime)
	defer cancel()
	if err := a.Queue.Drop(ctx, id); err != nil {
		return err
	}
	a.Log.Debug("call dropped", "call", id)
	return accepted(w)
}
