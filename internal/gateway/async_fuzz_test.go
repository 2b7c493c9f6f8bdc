package gateway_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"lofn"
)

// noted is a queue that takes everything, knows one call, and notes what it is
// asked for.
type noted struct {
	lofn.Queue
	submitted *lofn.Submission
	asked     []string
	cancelled bool
}

func (n *noted) Enqueue(_ context.Context, s lofn.Submission) (lofn.CallStatus, error) {
	n.submitted = &s
	return lofn.CallStatus{ID: s.ID, AcceptedAt: s.Accepted}, nil
}

func (n *noted) Status(_ context.Context, id string) (lofn.CallStatus, error) {
	n.asked = append(n.asked, id)
	if id != "known" {
		return lofn.CallStatus{}, lofn.Errorf(lofn.NotFound, "unknown")
	}
	return lofn.CallStatus{ID: id, Function: "echo.openfaas-fn", State: lofn.CallSucceeded}, nil
}

func (n *noted) Cancel(_ context.Context, id string) (lofn.CallStatus, error) {
	n.cancelled = true
	return lofn.CallStatus{ID: id}, nil
}

func (n *noted) Result(context.Context, string) (lofn.Result, error) {
	return lofn.Result{Status: 200, Body: http.NoBody, Duration: time.Second}, nil
}

// FuzzAsync: whatever the path, a request is a call of a deployed function, or a
// question about a call that can exist, or refused.
func FuzzAsync(f *testing.F) {
	for _, target := range []string{"echo", "echo.openfaas-fn/a%2Fb?q", "calls", "calls/", "calls/known", "calls/known/result", "calls/known/result/",
		"calls/../echo", "calls.openfaas-fn/known", "calls/%6bnown", "known", "echo/../calls/known", "/echo", "calls//known", "", "..", "calls/.."} {
		for _, method := range []string{"GET", "DELETE", "POST", "OPTIONS"} {
			f.Add(method, target, "Origin: https://a.example\r\nAccess-Control-Request-Method: DELETE\r\n")
		}
	}
	f.Add("POST", "echo", "X-Call-Id: ..\r\nIdempotency-Key: \"a\"\r\nX-Callback-Url: http://a/\r\nConnection: X-A\r\nX-A: 1\r\n")
	functions := deployed{}
	functions.declare(f, echo, lofn.AnnotationOrigins, "*")
	functions.declare(f, lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "calls"})
	f.Fuzz(func(t *testing.T, method, target, headers string) {
		r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(
			strings.NewReader(method+" /async-function/"+target+" HTTP/1.1\r\nHost: x\r\n"+headers), strings.NewReader("\r\n"))))
		if err != nil || !strings.HasPrefix(r.URL.Path, "/async-function/") {
			t.Skip()
		}
		queue := &noted{}
		w := httptest.NewRecorder()
		newAsync(functions, queue).Async(w, r)
		checkAnswer(t, r, w, queue)
	})
}

func checkAnswer(t *testing.T, r *http.Request, w *httptest.ResponseRecorder, queue *noted) {
	patterns := []string{"/async-function", "/async-function/{id}", "/async-function/calls/{id}", "/async-function/calls/{id}/result"}
	statuses := []int{200, 202, 204, 400, 403, 404, 501}
	if !slices.Contains(patterns, r.Pattern) || !slices.Contains(statuses, w.Code) {
		t.Errorf("%s %s: got %d %s under %q", r.Method, r.URL, w.Code, w.Body, r.Pattern)
	}
	for _, id := range queue.asked {
		if !lofn.ValidCallID(id) || !strings.Contains(r.URL.EscapedPath(), "/"+id) || queue.submitted != nil {
			t.Errorf("%s %s: asked for call %q, submitted %v", r.Method, r.URL, id, queue.submitted)
		}
	}
	if queue.cancelled && (r.Method != http.MethodDelete || w.Code != 202) {
		t.Errorf("%s %s: cancelled, and answered with %d", r.Method, r.URL, w.Code)
	}
	s := queue.submitted
	if accepted := w.Code == 202 && !queue.cancelled; accepted != (s != nil) {
		t.Errorf("%s %s: answered with %d, submitted: %v", r.Method, r.URL, w.Code, s != nil)
	}
	if s == nil {
		return
	}
	name, path, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/async-function/"), "/")
	if lofn.ParseHost(name) != s.Function || "/"+path != s.Path || !lofn.ValidCallID(s.ID) || r.Pattern != "/async-function" {
		t.Errorf("%s %s: submitted as %+v", r.Method, r.URL, s)
	}
	if !slices.Equal(w.Header()["Location"], []string{"/async-function/calls/" + s.ID}) || w.Body.Len() > 0 {
		t.Errorf("%s %s: answered with %v %s", r.Method, r.URL, w.Header(), w.Body)
	}
}
