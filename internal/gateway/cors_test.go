package gateway_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"lofn"
)

func TestPagesOfOtherOrigins(t *testing.T) { eachDoor(t, testPagesOfOtherOrigins) }

func testPagesOfOtherOrigins(t *testing.T, d door) {
	var calls atomic.Int32
	p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Access-Control-Allow-Origin", "https://the.function.says")
		w.Header().Set("Vary", "Accept")
		if r.URL.Path == "/hints" {
			w.WriteHeader(http.StatusEarlyHints)
		}
	}))
	const known, other = "https://a.example", "https://b.example"
	for _, tc := range []struct {
		origins, method, path, origin string
		preflight                     bool
		status                        int
		allowed                       string
		credentials, called           bool
	}{
		{"", "GET", "/", known, false, 200, "https://the.function.says", false, true},
		{"", "OPTIONS", "/", known, true, 200, "https://the.function.says", false, true},
		{known, "GET", "/", known, false, 200, known, true, true},
		{known, "GET", "/hints", known, false, 200, known, true, true},
		{known, "GET", "/", other, false, 200, "", false, true},
		{known, "GET", "/", "", false, 200, "", false, true},
		{known, "OPTIONS", "/", known, true, 204, known, true, false},
		{known, "OPTIONS", "/", other, true, 403, "", false, false},
		{known, "OPTIONS", "/", known, false, 200, known, true, true},
		{known, "POST", "/", known, true, 200, known, true, true},
		{known + ", *", "GET", "/", other, false, 200, "*", false, true},
		{known + ", *", "OPTIONS", "/", other, true, 204, "*", false, false},
		{known + ", *", "GET", "/", known, false, 200, known, true, true},
	} {
		p.annotate(lofn.AnnotationOrigins, tc.origins)
		before := calls.Load()
		req := p.request(tc.method, "/function/echo"+tc.path, nil)
		if tc.origin != "" {
			req.Header.Set("Origin", tc.origin)
		}
		if tc.preflight {
			req.Header.Set("Access-Control-Request-Method", "PATCH")
			req.Header.Set("Access-Control-Request-Headers", "x-a, x-b")
		}
		resp, body := p.do(req)
		h := resp.Header
		if resp.StatusCode != tc.status {
			t.Errorf("%+v: got %d %s", tc, resp.StatusCode, body)
		}
		if got := strings.Join(h.Values("Access-Control-Allow-Origin"), "|"); got != tc.allowed {
			t.Errorf("%+v: allows %q", tc, got)
		}
		if got := h.Get("Access-Control-Allow-Credentials") == "true"; got != tc.credentials {
			t.Errorf("%+v: credentials %v", tc, got)
		}
		if got := calls.Load() > before; got != tc.called {
			t.Errorf("%+v: the function was called: %v", tc, got)
		}
		vary := strings.Join(h.Values("Vary"), ",")
		if tc.origins != "" && !strings.Contains(vary, "Origin") || tc.called && !strings.Contains(vary, "Accept") {
			t.Errorf("%+v: Vary is %q", tc, vary)
		}
		if tc.status == 204 && (h.Get("Access-Control-Allow-Methods") != "PATCH" || h.Get("Access-Control-Allow-Headers") != "x-a, x-b") {
			t.Errorf("%+v: leave is given for %v", tc, h)
		}
	}
}

// TestAPageMayReadARefusal is about errors of the platform itself.
func TestAPageMayReadARefusal(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		p := start(t, d, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/break" {
				panic(http.ErrAbortHandler)
			}
		}))
		p.annotate(lofn.AnnotationOrigins, "https://a.example")
		for path, status := range map[string]int{"/break": 502, "/": 400} {
			req := p.request("POST", "/function/echo"+path, nil)
			req.Header.Set("Origin", "https://a.example")
			if status == 400 {
				req.Header.Set("X-Timeout", "soon")
			}
			resp, body := p.do(req)
			if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != status || got != "https://a.example" {
				t.Errorf("%s: got %d %s for %q", path, resp.StatusCode, body, got)
			}
		}
	})
}
