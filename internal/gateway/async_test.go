package gateway_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/telemetry"
)

func TestACallIsQueuedAsItIs(t *testing.T) {
	s := startAsync(t)
	s.functions.declare(t, lofn.Ref{Namespace: "dev", Name: "f"})
	for _, tc := range []struct{ method, path, function, wantPath, query string }{
		{"POST", "echo", "echo.openfaas-fn", "/", ""},
		{"GET", "echo/", "echo.openfaas-fn", "/", ""},
		{"PUT", "f.dev/a/b?x=1&y=;%00", "f.dev", "/a/b", "x=1&y=;%00"},
		{"DELETE", "echo//a/../b/./c//", "echo.openfaas-fn", "//a/../b/./c//", ""},
		{"PATCH", "echo.openfaas-fn/a%2Fb%20c?", "echo.openfaas-fn", "/a%2Fb%20c", ""},
		{"OPTIONS", "echo/*", "echo.openfaas-fn", "/*", ""},
		{"PROPFIND", "echo/%E2%82%AC", "echo.openfaas-fn", "/%E2%82%AC", ""},
	} {
		before := time.Now()
		resp, text := s.do(tc.method, "/async-function/"+tc.path, strings.NewReader("data"), "X-A", "1", "X-A", "2")
		h := resp.Header
		id := h.Get("X-Call-Id")
		if resp.StatusCode != 202 || text != "" || len(id) != 36 || h.Get("Location") != "/async-function/calls/"+id || h.Get("X-Served-By") != "lofn/test" {
			t.Fatalf("%s %s: got %d %q %v", tc.method, tc.path, resp.StatusCode, text, h)
		}
		d := s.take(lofn.ParseHost(tc.function))
		c := d.Call()
		if c.ID != id || c.Method != tc.method || c.Path != tc.wantPath || c.Query != tc.query || c.Host != strings.TrimPrefix(s.url, "http://") {
			t.Errorf("%s %s: queued as %+v", tc.method, tc.path, c)
		}
		if got := s.bodyOf(d); got != "data" || strings.Join(c.Header["X-A"], ",") != "1,2" {
			t.Errorf("%s %s: body %q, header %v", tc.method, tc.path, got, c.Header)
		}
		if host, _, err := net.SplitHostPort(c.Remote); err != nil || host != "127.0.0.1" {
			t.Errorf("it came from %q", c.Remote)
		}
		if c.Accepted.Before(before.Truncate(0)) || c.Accepted.After(time.Now()) || h.Get("X-Start-Time") != fmt.Sprint(c.Accepted.UnixNano()) {
			t.Errorf("accepted at %v, and X-Start-Time is %s", c.Accepted, h.Get("X-Start-Time"))
		}
		s.settle(d, lofn.CallSucceeded, 200, nil, "")
	}
}

func TestWhatConcernsTheConnectionIsNotQueued(t *testing.T) {
	s := startAsync(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /async-function/echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, X-Hop\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"+
		"X-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Authorization: x\r\nTrailer: X-Sum\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n"+
		"Authorization: Bearer x\r\nX-Timeout: 5s\r\nX-Callback-Url: http://a.example/b?c\r\nX-Forwarded-For: 10.0.0.1\r\nCookie: a=b\r\n\r\n")
	r := bufio.NewReader(conn)
	if asked, err := http.ReadResponse(r, nil); err != nil || asked.StatusCode != 100 {
		t.Fatalf("the body is not asked for: %v (%v)", asked, err)
	}
	fmt.Fprint(conn, "4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n")
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 202 {
		t.Fatalf("got %v (%v)", resp, err)
	}
	d := s.take(echo)
	want := map[string]string{"Authorization": "Bearer x", "X-Timeout": "5s", "X-Callback-Url": "http://a.example/b?c", "X-Forwarded-For": "10.0.0.1", "Cookie": "a=b"}
	got := d.Call().Header
	for name, value := range want {
		if got.Get(name) != value {
			t.Errorf("%s is %q, want %q", name, got.Get(name), value)
		}
	}
	if len(got) != len(want) || d.Call().Callback != "http://a.example/b?c" || s.bodyOf(d) != "body" {
		t.Errorf("more or less was queued: %v, callback %q", got, d.Call().Callback)
	}
}

func TestTheClientChoosesTheID(t *testing.T) {
	s := startAsync(t)
	for _, id := range []string{"mine-1_A.b", strings.Repeat("x", 128)} {
		if got := s.accept("POST", "/async-function/echo", "", "X-Call-Id", id); got != id {
			t.Errorf("the call is called %q, want %q", got, id)
		}
	}
	for _, id := range []string{"mine-1_A.b", "..", "a/b", "a b", "é", strings.Repeat("x", 129), "%41"} {
		if got := s.accept("POST", "/async-function/echo", "", "X-Call-Id", id); got == id || len(got) != 36 {
			t.Errorf("wished for %q, which is taken or cannot be: got %q", id, got)
		}
	}
}

func TestABadSubmitIsRefused(t *testing.T) {
	s := startAsync(t)
	s.functions.declare(t, lofn.Ref{Namespace: "dev", Name: "few"}, lofn.AnnotationMaxBacklog, "1", lofn.AnnotationMaxBody, "8")
	const callback, key = "X-Callback-Url", "Idempotency-Key"
	for _, tc := range []struct {
		path     string
		headers  []string
		status   int
		contains string
	}{
		{"nope", nil, 404, `error finding function nope.openfaas-fn: it is not deployed in namespace "openfaas-fn"`},
		{"", nil, 404, "error finding function"},
		{"calls/1", nil, 404, "error finding function calls.openfaas-fn"},
		{"echo", []string{callback, "done"}, 400, `X-Callback-Url: "done": it has to begin with http:// or https://: use the whole URL`},
		{"echo", []string{callback, "//host/done"}, 400, "X-Callback-Url"},
		{"echo", []string{callback, "ftp://host/done"}, 400, "X-Callback-Url"},
		{"echo", []string{callback, "http:///done"}, 400, "it names no host"},
		{"echo", []string{callback, "http://:80/done"}, 400, "it names no host"},
		{"echo", []string{callback, "http://host:0/done"}, 400, "it names no host and port"},
		{"echo", []string{callback, "http://host:99999/done"}, 400, "it names no host and port"},
		{"echo", []string{callback, "http://[::1/done"}, 400, "it is no URL"},
		{"echo", []string{callback, "https://user:secret@host/"}, 400, "it may not hold a user or password"},
		{"echo", []string{callback, "http://a/", callback, "http://b/"}, 400, "there may be one"},
		{"echo", []string{callback, "http://a/" + strings.Repeat("x", 5000)}, 400, "longer than 4096 bytes"},
		{"echo", []string{key, ""}, 400, "Idempotency-Key: use one key of 1 to 255 visible ASCII characters"},
		{"echo", []string{key, `""`}, 400, key},
		{"echo", []string{key, `"open`}, 400, key},
		{"echo", []string{key, `"`}, 400, key},
		{"echo", []string{key, `"a"b"`}, 400, key},
		{"echo", []string{key, "a b"}, 400, key},
		{"echo", []string{key, "é"}, 400, key},
		{"echo", []string{key, strings.Repeat("x", 256)}, 400, key},
		{"echo", []string{key, "a", key, "b"}, 400, key},
		{"echo", []string{"X-Timeout", "soon"}, 400, "X-Timeout"},
		{"echo", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 400, "call /function/echo.openfaas-fn instead"},
		{"echo", []string{"Content-Type", "application/grpc"}, 501, "call /function/echo.openfaas-fn instead"},
		{"few.dev", nil, 413, "takes bodies of up to 8 bytes"},
	} {
		resp, text := s.do("POST", "/async-function/"+tc.path, strings.NewReader("a body"+strings.Repeat(".", 10)), tc.headers...)
		if resp.StatusCode != tc.status || !strings.Contains(text, tc.contains) || strings.Contains(text, "secret") {
			t.Errorf("%s %.60q: got %d %.200s, want %d with %q", tc.path, tc.headers, resp.StatusCode, text, tc.status, tc.contains)
		}
		if resp.Header.Get("X-Openfaas-Internal") != "gateway" {
			t.Errorf("%s %.60q: the answer does not say who made it: %v", tc.path, tc.headers, resp.Header)
		}
	}
	if n := s.open(); n != 0 {
		t.Errorf("%d calls were accepted", n)
	}
	s.accept("POST", "/async-function/few.dev", "12345678")
	resp, text := s.do("POST", "/async-function/few.dev", nil)
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" || !strings.Contains(text, lofn.AnnotationMaxBacklog) {
		t.Errorf("one call more than may wait: got %d %s", resp.StatusCode, text)
	}
}

func TestARepeatedSubmitIsTheFirst(t *testing.T) {
	s := startAsync(t)
	first := s.accept("POST", "/async-function/echo/a", "one", "Idempotency-Key", "k1")
	for _, key := range []string{"k1", `"k1"`} {
		if again := s.accept("POST", "/async-function/echo/a", "one", "Idempotency-Key", key, "X-Call-Id", "other"); again != first {
			t.Errorf("with key %s got call %s, want the first, %s", key, again, first)
		}
	}
	resp, text := s.do("POST", "/async-function/echo/a", strings.NewReader("two"), "Idempotency-Key", "k1")
	if resp.StatusCode != 422 || !strings.Contains(text, first) {
		t.Errorf("another body with the same key: got %d %s", resp.StatusCode, text)
	}
	if other := s.accept("POST", "/async-function/echo/a", "one", "Idempotency-Key", "k2"); other == first {
		t.Error("another key is the same call")
	}
	if n := s.open(); n != 2 {
		t.Errorf("%d calls were accepted, want 2", n)
	}
}

func TestWithoutAQueueCallsAreRefused(t *testing.T) {
	functions := deployed{}
	functions.declare(t, echo)
	s := &submitting{TB: t, url: serveAsync(t, functions, nil)}
	for _, path := range []string{"echo", "nope", "calls/1"} {
		resp, text := s.do("GET", "/async-function/"+path, nil)
		if resp.StatusCode != 501 || !strings.Contains(text, "/function/"+strings.TrimSuffix(path, "/1")) {
			t.Errorf("%s: got %d %s, want 501", path, resp.StatusCode, text)
		}
	}
}

func TestGRPCIsNotQueued(t *testing.T) {
	functions := deployed{}
	functions.declare(t, echo)
	server := httptest.NewUnstartedServer(http.HandlerFunc(newAsync(functions, taking{enqueue: takeAll}).Async))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	transport := &http.Transport{Protocols: server.Config.Protocols}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/async-function/echo", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc+proto")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.Header.Get("Grpc-Status") != "12" || !strings.Contains(resp.Header.Get("Grpc-Message"), "call%20%2Ffunction%2Fecho") {
		t.Errorf("got %s with %v, want UNIMPLEMENTED", resp.Status, resp.Header)
	}
}

// TestRequestsAreCountedByWhatTheyAsk has paths without bound counted under a
// few names.
func TestRequestsAreCountedByWhatTheyAsk(t *testing.T) {
	functions, metrics := deployed{}, telemetry.New()
	functions.declare(t, echo)
	server := httptest.NewServer(metrics.Requests("", http.HandlerFunc(newAsync(functions, &noted{}).Async)))
	defer server.Close()
	s := &submitting{TB: t, url: server.URL}
	for _, path := range []string{"echo", "echo/a", "nope/b", "calls/known", "calls/c", "calls/known/result", "calls/d/e"} {
		s.do("GET", "/async-function/"+path, nil)
	}
	s.do("DELETE", "/async-function/f", nil)
	w := httptest.NewRecorder()
	metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`{method="GET",path="/async-function",status="202"} 2`, `{method="GET",path="/async-function",status="404"} 2`,
		`{method="GET",path="/async-function/calls/{id}",status="200"} 1`, `{method="GET",path="/async-function/calls/{id}",status="404"} 1`,
		`{method="GET",path="/async-function/calls/{id}/result",status="200"} 1`, `{method="DELETE",path="/async-function/{id}",status="404"} 1`,
	} {
		if !strings.Contains(w.Body.String(), "http_requests_total"+want+"\n") {
			t.Errorf("no %s in\n%s", want, w.Body)
		}
	}
}
