package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"lofn"
)

// status asks how a call goes.
func (s *submitting) status(id string) (status lofn.CallStatus) {
	s.Helper()
	resp, text := s.do("GET", "/async-function/calls/"+id, nil)
	h := resp.Header
	if resp.StatusCode != 200 || h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" {
		s.Fatalf("call %s: got %d %s %v", id, resp.StatusCode, text, h)
	}
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		s.Fatal(err)
	}
	return status
}

func TestTheOutcomeOfACall(t *testing.T) {
	s := startAsync(t)
	id := s.accept("POST", "/async-function/echo", "ping")
	if got := s.status(id); got.ID != id || got.State != lofn.CallQueued || got.Function != "echo.openfaas-fn" {
		t.Errorf("queued: %+v", got)
	}
	s.refused("GET", "calls/"+id+"/result", 409, "call "+id+" is queued")
	d := s.take(echo)
	if got := s.status(id); got.State != lofn.CallRunning || got.Attempts != 1 {
		t.Errorf("running: %+v", got)
	}
	s.refused("GET", "calls/"+id+"/result", 409, "is running")
	answer := http.Header{"Content-Type": {"image/png"}, "Content-Encoding": {"gzip"}, "Set-Cookie": {"a=b"}, "Location": {"/x"}, "Cache-Control": {"max-age=9"}}
	s.settle(d, lofn.CallSucceeded, 201, answer, "pong")
	if got := s.status(id); got.State != lofn.CallSucceeded || got.Status != 201 || got.ResultSize == nil || *got.ResultSize != 4 {
		t.Errorf("succeeded: %+v", got)
	}
	for _, method := range []string{"GET", "HEAD"} {
		resp, text := s.do(method, "/async-function/calls/"+id+"/result", nil, "Accept-Encoding", "identity")
		if want := map[string]string{"GET": "pong", "HEAD": ""}[method]; resp.StatusCode != 200 || resp.ContentLength != 4 || text != want {
			t.Errorf("%s: got %d %q of %d bytes", method, resp.StatusCode, text, resp.ContentLength)
		}
		for name, value := range map[string]string{
			"Content-Type": "image/png", "Content-Encoding": "gzip", "X-Function-Status": "201", "X-Function-Name": "echo.openfaas-fn",
			"X-Call-Id": id, "Set-Cookie": "", "Location": "", "Cache-Control": "no-store", "X-Served-By": "lofn/test",
		} {
			if resp.Header.Get(name) != value {
				t.Errorf("%s: %s is %q, want %q", method, name, resp.Header.Get(name), value)
			}
		}
		if d := resp.Header.Get("X-Duration-Seconds"); len(d) < len("0.000000") {
			t.Errorf("%s: it took %q", method, d)
		}
	}
	if resp, text := s.do("HEAD", "/async-function/calls/"+id, nil); resp.StatusCode != 200 || text != "" {
		t.Errorf("HEAD: got %d %q", resp.StatusCode, text)
	}
	s.refused("DELETE", "calls/"+id, 409, id)
	s.refused("DELETE", id, 409, id)
}

// refused makes a request that has to fail.
func (s *submitting) refused(method, path string, status int, contains string) {
	s.Helper()
	resp, text := s.do(method, "/async-function/"+path, nil)
	if resp.StatusCode != status || !strings.Contains(text, contains) || resp.Header.Get("X-Openfaas-Internal") != "gateway" {
		s.Errorf("%s %s: got %d %q %v, want %d with %q", method, path, resp.StatusCode, text, resp.Header, status, contains)
	}
}

func TestAResultWithoutATypeIsText(t *testing.T) {
	s := startAsync(t)
	id := s.accept("POST", "/async-function/echo", "")
	s.settle(s.take(echo), lofn.CallFailed, 400, nil, "<html>")
	resp, text := s.do("GET", "/async-function/calls/"+id+"/result", nil)
	if resp.StatusCode != 200 || text != "<html>" || resp.Header.Get("Content-Type") != "text/plain" || resp.Header.Get("X-Function-Status") != "400" {
		t.Errorf("got %d %q %v", resp.StatusCode, text, resp.Header)
	}
}

func TestAnUnknownCallHasNoOutcome(t *testing.T) {
	s := startAsync(t)
	s.refused("GET", "calls/nope", 404, `call "nope" is not known`)
	s.refused("HEAD", "calls/nope", 404, "")
	s.refused("GET", "calls/nope/result", 404, `call "nope" is not known`)
	s.refused("DELETE", "calls/nope", 404, `call "nope" is not known`)
	s.refused("DELETE", "nope", 404, "error finding function nope.openfaas-fn, and there is no call nope either")
	for _, path := range []string{"calls", "calls/", "calls/..", "calls/a/b", "calls/a/result/", "calls//result", "calls/%61", "calls/result/result/x"} {
		s.refused("GET", path, 404, "error finding function calls.openfaas-fn")
	}
	// A call that ended without an answer has a status and no result.
	id := s.accept("POST", "/async-function/echo", "")
	if _, err := s.queue.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	s.refused("GET", "calls/"+id+"/result", 404, id)
	if got := s.status(id); got.State != lofn.CallCancelled {
		t.Errorf("cancelled: %+v", got)
	}
}

func TestACallIsCalledOff(t *testing.T) {
	s := startAsync(t)
	for _, prefix := range []string{"/async-function/calls/", "/async-function/"} {
		id := s.accept("POST", "/async-function/echo", "")
		resp, text := s.do("DELETE", prefix+id, nil)
		var status lofn.CallStatus
		if err := json.Unmarshal([]byte(text), &status); err != nil || resp.StatusCode != 202 || status.ID != id || status.State != lofn.CallCancelled {
			t.Errorf("%s: got %d %s (%v)", prefix, resp.StatusCode, text, err)
		}
		if got := s.status(id); got.State != lofn.CallCancelled {
			t.Errorf("%s: the call is %+v", prefix, got)
		}
	}
	// A function has the name that the ID would be.
	s.accept("DELETE", "/async-function/echo", "", "X-Call-Id", "echo")
	if got := s.status("echo"); got.State != lofn.CallQueued {
		t.Errorf("the call named echo is %+v", got)
	}
}

// TestAFunctionNamedCalls is reached with what does not look like a question
// about a call, and otherwise by its full name.
func TestAFunctionNamedCalls(t *testing.T) {
	s := startAsync(t)
	calls := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "calls"}
	s.functions.declare(t, calls)
	for _, tc := range []struct{ method, path, want string }{
		{"POST", "calls/mine", "/mine"}, {"PUT", "calls/mine/result", "/mine/result"}, {"OPTIONS", "calls/mine", "/mine"},
		{"GET", "calls", "/"}, {"GET", "calls/", "/"}, {"DELETE", "calls", "/"}, {"GET", "calls/a/b", "/a/b"}, {"DELETE", "calls/mine/result", "/mine/result"},
		{"GET", "calls.openfaas-fn/mine", "/mine"}, {"DELETE", "calls.openfaas-fn/mine", "/mine"},
	} {
		s.accept(tc.method, "/async-function/"+tc.path, "")
		d := s.take(calls)
		if c := d.Call(); c.Method != tc.method || c.Path != tc.want {
			t.Errorf("%s %s: queued as %s %s", tc.method, tc.path, c.Method, c.Path)
		}
		s.settle(d, lofn.CallSucceeded, 200, nil, "")
	}
	s.refused("GET", "calls/mine", 404, `call "mine" is not known`)
}

func TestPagesOfOtherOriginsSubmit(t *testing.T) {
	s := startAsync(t)
	const known, other = "https://a.example", "https://b.example"
	s.functions.declare(t, echo, lofn.AnnotationOrigins, known)
	s.functions.declare(t, lofn.Ref{Namespace: "dev", Name: "open"})
	id := s.accept("POST", "/async-function/echo", "")
	for _, tc := range []struct {
		method, path, origin, asks string
		status                     int
		allowed                    string
	}{
		{"POST", "echo", known, "", 202, known},
		{"POST", "echo", other, "", 202, ""},
		{"POST", "echo", "", "", 202, ""},
		{"OPTIONS", "echo", known, "POST", 204, known},
		{"OPTIONS", "echo", other, "POST", 403, ""},
		{"OPTIONS", "open.dev", known, "POST", 202, ""},
		{"GET", "calls/" + id, known, "", 200, known},
		{"GET", "calls/" + id, other, "", 200, ""},
		{"GET", "calls/" + id + "/result", known, "", 409, known},
		{"OPTIONS", "calls/" + id, known, "DELETE", 204, known},
		{"OPTIONS", "calls/" + id, other, "DELETE", 403, ""},
		{"OPTIONS", id, known, "DELETE", 204, known},
	} {
		before := s.open()
		headers := []string{}
		if tc.origin != "" {
			headers = append(headers, "Origin", tc.origin)
		}
		if tc.asks != "" {
			headers = append(headers, "Access-Control-Request-Method", tc.asks, "Access-Control-Request-Headers", "x-a")
		}
		resp, text := s.do(tc.method, "/async-function/"+tc.path, nil, headers...)
		h := resp.Header
		if resp.StatusCode != tc.status || h.Get("Access-Control-Allow-Origin") != tc.allowed {
			t.Errorf("%+v: got %d %s for %q", tc, resp.StatusCode, text, h.Get("Access-Control-Allow-Origin"))
		}
		if queued := s.open() > before; queued != (tc.status == 202) {
			t.Errorf("%+v: queued is %v", tc, queued)
		}
		exposed := h.Get("Access-Control-Expose-Headers")
		if want := tc.allowed != "" && tc.status != 204; strings.Contains(exposed, "X-Call-Id") != want {
			t.Errorf("%+v: the page may read %q", tc, exposed)
		}
	}
}
