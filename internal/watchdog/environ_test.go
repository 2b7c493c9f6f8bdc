package watchdog_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"lofn/internal/watchdog"
)

// TestEnvironment is what a process learns about its request, in the modes
// that start one for each call.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		modes  string
		change func(*http.Request)
		want   string // present
		absent string // no variable begins with it
	}{
		{name: "method", want: "Http_Method=POST"},
		{name: "path", want: "Http_Path=/a b"},
		{name: "query", want: "Http_Query=c=d%20e&f"},
		{name: "no query", change: func(r *http.Request) { r.URL.RawQuery = ""; r.Header.Set("Query", "spoofed") }, absent: "Http_Query"},
		{name: "host", change: func(r *http.Request) { r.Host = "echo.example" }, want: "Http_Host=echo.example"},
		{name: "base", want: "BASE=kept"},
		{name: "header", change: func(r *http.Request) { r.Header.Set("X-Forwarded-For", "10.0.0.1") }, want: "Http_X_Forwarded_For=10.0.0.1"},
		{name: "first value", change: func(r *http.Request) { r.Header["X-A"] = []string{"1", "2"} }, want: "Http_X_A=1"},
		{name: "content type", change: func(r *http.Request) { r.Header.Set("Content-Type", "a/b") }, want: "Http_Content_Type=a/b"},
		{name: "content length", want: "Http_Content_Length=4"},
		{name: "content length, classic's name", want: "Http_ContentLength=4"},
		{name: "transfer encoding", change: chunked, want: "Http_Transfer_Encoding=chunked"},
		{name: "length of a body that came in chunks", modes: "classic serializing", change: chunked, want: "Http_ContentLength=4"},
		{name: "length of a body that is not known yet", modes: "streaming", change: chunked, absent: "Http_ContentLength"},
		{name: "Proxy", change: func(r *http.Request) { r.Header.Set("Proxy", "http://evil") }, absent: "Http_Proxy"},
		{name: "spoofed method", change: func(r *http.Request) { r.Header.Set("Method", "spoofed") }, want: "Http_Method=POST"},
		{name: "spoofed length", modes: "streaming", change: func(r *http.Request) { chunked(r); r.Header.Set("Contentlength", "7") }, absent: "Http_Content"},
		{name: "spoofed with underscore", change: func(r *http.Request) { r.Header["X_B"] = []string{"bad"}; r.Header["X-B"] = []string{"good"} }, want: "Http_X_B=good"},
		{name: "odd names", change: func(r *http.Request) { r.Header["X%a"] = []string{"1"} }, absent: "Http_X"},
		{name: "line break in the path", change: func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/a\nLD_PRELOAD=x", "" }, want: "Http_Path=/a%0ALD_PRELOAD=x"},
		{name: "NUL in the path", change: func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/a\x00b", "" }, want: "Http_Path=/a%00b"},
	} {
		for _, mode := range []string{"streaming", "serializing", "classic"} {
			if c.modes != "" && !strings.Contains(c.modes, mode) {
				continue
			}
			t.Run(c.name+" "+mode, func(t *testing.T) {
				t.Parallel()
				server, _, _ := serve(t, watchdog.Options{}, "fprocess=env", "mode="+mode)
				r := request(t, "POST", server.URL+"/a%20b?c=d%20e&f", "body")
				if c.change != nil {
					c.change(r)
				}
				got := do(t, r)
				lines := strings.Split(got.body, "\n")
				if got.StatusCode != 200 || c.want != "" && !slices.Contains(lines, c.want) {
					t.Errorf("%d: no %q in\n%s", got.StatusCode, c.want, got.body)
				}
				if c.absent != "" && slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, c.absent) }) {
					t.Errorf("%q is in\n%s", c.absent, got.body)
				}
			})
		}
	}
}

func chunked(r *http.Request) { r.ContentLength = -1 }

// A caller that is not net/http's server may pass on values that it refuses.
func TestValuesThatWouldBreakTheEnvironment(t *testing.T) {
	t.Parallel()
	_, w, _ := serve(t, watchdog.Options{}, "fprocess=env")
	r := httptest.NewRequest("GET", "/", nil)
	r.Header["X-Nul"] = []string{"a\x00b"}
	r.Header["X-Break"] = []string{"a\nLD_PRELOAD=x"}
	r.Header["X-None"] = nil
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	if body := rec.Body.String(); rec.Code != 200 || strings.Contains(body, "Http_X") || strings.Contains(body, "LD_PRELOAD") {
		t.Errorf("%d %s", rec.Code, body)
	}
}

func TestHeadersTooLargeForAnEnvironment(t *testing.T) {
	t.Parallel()
	server, _, _ := serve(t, watchdog.Options{}, "fprocess=env")
	got := do(t, request(t, "GET", server.URL, "", "X-Large", strings.Repeat("x", 200<<10)))
	if got.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d %.200q", got.StatusCode, got.body)
	}
}
