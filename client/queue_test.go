package client_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/client"
	"lofn/client/clienttest"
)

// put puts a call of a function in the namespace dev into the queue.
func put(gateway *clienttest.Gateway, id string, state lofn.CallState, status int, answer string) {
	call := lofn.CallDetail{Method: "PUT", Path: "/p", Query: "q=1", Header: http.Header{"X-Test": {"yes"}}, Size: 5}
	call.CallStatus = lofn.CallStatus{ID: id, Function: "f.dev", State: state, Attempts: 2, Status: status, AcceptedAt: time.Unix(1700000000, 0).UTC()}
	gateway.PutCall(call, answer)
}

func TestAnAcceptedCallCanBeAskedAbout(t *testing.T) {
	c := newClient(t, client.Config{URL: newGateway(t).URL})
	res, err := c.Invoke(t.Context(), client.Call{
		Function: lofn.Ref{Namespace: "dev", Name: "f"}, Path: "/sub", Async: true, Body: strings.NewReader("hello"),
		Header: http.Header{lofn.HeaderCallback: {"http://127.0.0.1:1/"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	call, err := c.CallDetail(t.Context(), res.Header.Get(lofn.HeaderCallID))
	if err != nil || call.Function != "f.dev" || call.State != lofn.CallQueued || call.Path != "/sub" || call.Size != 5 || call.Callback == nil {
		t.Errorf("got %+v, %v", call, err)
	}
}

func TestCallsAreSelected(t *testing.T) {
	gateway := newGateway(t)
	c := newClient(t, client.Config{URL: gateway.URL})
	if none, err := c.Calls(t.Context(), lofn.CallQuery{}); err != nil || none == nil || len(none) != 0 {
		t.Fatalf("got %v, %v, want an empty list", none, err)
	}
	put(gateway, "1", lofn.CallQueued, 0, "")
	put(gateway, "2", lofn.CallDead, 503, "busy")
	put(gateway, "3", lofn.CallDead, 503, "busy")
	put(gateway, "4", lofn.CallSucceeded, 200, "ok")
	for _, tc := range []struct {
		query lofn.CallQuery
		want  string
	}{
		{lofn.CallQuery{}, "1 2 3 4"},
		{lofn.CallQuery{Namespace: "dev", Name: "f", States: []lofn.CallState{lofn.CallDead, lofn.CallQueued}}, "1 2 3"},
		{lofn.CallQuery{States: []lofn.CallState{lofn.CallDead}, Limit: 1}, "2"},
		{lofn.CallQuery{Namespace: lofn.DefaultNamespace}, ""},
		{lofn.CallQuery{Name: "g"}, ""},
	} {
		calls, err := c.Calls(t.Context(), tc.query)
		var ids []string
		for _, call := range calls {
			ids = append(ids, call.ID)
		}
		if got := strings.Join(ids, " "); err != nil || got != tc.want {
			t.Errorf("%+v: got %q, %v, want %q", tc.query, got, err, tc.want)
		}
	}
	counts, err := c.QueueCounts(t.Context(), "dev")
	if err != nil || len(counts) != 1 || counts[0].Queued != 1 || counts[0].Dead != 2 || counts[0].Accepted != 4 {
		t.Errorf("got %+v, %v", counts, err)
	}
	if counts, err := c.QueueCounts(t.Context(), "other"); err != nil || counts == nil || len(counts) != 0 {
		t.Errorf("got %v, %v, want an empty list", counts, err)
	}
}

func TestCallResult(t *testing.T) {
	gateway := newGateway(t)
	c := newClient(t, client.Config{URL: gateway.URL})
	put(gateway, "1", lofn.CallFailed, 418, "I am a teapot")
	result, err := c.CallResult(t.Context(), "1")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(result.Body)
	_ = result.Body.Close()
	if err != nil || string(body) != "I am a teapot" {
		t.Errorf("got %q, %v", body, err)
	}
	if result.Status != 418 || result.Size != 13 || result.Duration != 250*time.Millisecond || result.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("got %+v", result)
	}
	put(gateway, "2", lofn.CallQueued, 0, "")
	if _, err := c.CallResult(t.Context(), "2"); lofn.CodeOf(err) != lofn.Conflict || !strings.Contains(err.Error(), "no outcome") {
		t.Errorf("of a call without an outcome: got %v, want code Conflict", err)
	}
	put(gateway, "3", lofn.CallCancelled, 0, "")
	for _, id := range []string{"3", "missing", "a/b"} {
		if _, err := c.CallResult(t.Context(), id); lofn.CodeOf(err) != lofn.NotFound {
			t.Errorf("%s: got %v, want code NotFound", id, err)
		}
	}
}

// A web server that answers everything is not a gateway.
func TestCallResultOfSomethingElse(t *testing.T) {
	gateway := newGateway(t)
	gateway.Fail("/system/queue/calls/1/result", http.StatusOK, "hello")
	c := newClient(t, client.Config{URL: gateway.URL})
	if _, err := c.CallResult(t.Context(), "1"); err == nil || !strings.Contains(err.Error(), lofn.HeaderFunctionStatus) {
		t.Errorf("got %v", err)
	}
}

func TestCallsAreChanged(t *testing.T) {
	gateway := newGateway(t)
	c := newClient(t, client.Config{URL: gateway.URL})
	put(gateway, "dead", lofn.CallDead, 500, "")
	if status, err := c.RedriveCall(t.Context(), "dead"); err != nil || status.State != lofn.CallQueued || status.Attempts != 0 {
		t.Errorf("redrive: %+v, %v", status, err)
	}
	if status, err := c.CancelCall(t.Context(), "dead"); err != nil || status.State != lofn.CallCancelled {
		t.Errorf("cancel: %+v, %v", status, err)
	}
	_, redrive := c.RedriveCall(t.Context(), "dead")
	_, cancel := c.CancelCall(t.Context(), "dead")
	for what, err := range map[string]error{"redrive": redrive, "cancel": cancel, "drop": c.DropCall(t.Context(), "dead")} {
		if lofn.CodeOf(err) != lofn.Conflict || !strings.Contains(err.Error(), "cancelled") {
			t.Errorf("%s what is cancelled: got %v, want code Conflict", what, err)
		}
	}
	put(gateway, "dead", lofn.CallDead, 500, "")
	if err := c.DropCall(t.Context(), "dead"); err != nil {
		t.Error(err)
	}
	if err := c.DropCall(t.Context(), "dead"); lofn.CodeOf(err) != lofn.NotFound {
		t.Errorf("dropping twice: got %v, want code NotFound", err)
	}
}
