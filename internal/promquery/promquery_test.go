package promquery_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lofn/internal/promquery"
)

// prometheus answers each expression with what it maps to: a status and a body.
type prometheus map[string]struct {
	status int
	body   string
}

func (p prometheus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, ok := p[r.PostFormValue("query")]
	if user, password, _ := r.BasicAuth(); r.URL.Path != "/prom/api/v1/query" || !ok || user != "me" || password != "hush" {
		http.Error(w, "unexpected: "+r.URL.Path, http.StatusTeapot)
		return
	}
	w.WriteHeader(a.status)
	fmt.Fprint(w, a.body)
}

func TestQuery(t *testing.T) {
	success := func(kind, result string) string {
		return fmt.Sprintf(`{"status":"success","data":{"resultType":%q,"result":%s}}`, kind, result)
	}
	for _, test := range []struct {
		name   string
		status int
		body   string
		value  float64
		found  bool
		err    string
	}{
		{name: "a vector of one", status: 200, body: success("vector", `[{"metric":{"a":"b"},"value":[1435781451.781,"12.5"]}]`), value: 12.5, found: true},
		{name: "zero is a value", status: 200, body: success("vector", `[{"metric":{},"value":[1,"0"]}]`), found: true},
		{name: "a scalar", status: 200, body: success("scalar", `[1435781451.781,"3e4"]`), value: 3e4, found: true},
		{name: "an empty vector", status: 200, body: success("vector", `[]`)},
		{name: "not a number", status: 200, body: success("vector", `[{"metric":{},"value":[1,"NaN"]}]`)},
		{name: "infinite", status: 200, body: success("scalar", `[1,"+Inf"]`)},
		{name: "two series", status: 200, body: success("vector", `[{"value":[1,"1"]},{"value":[1,"2"]}]`), err: "yields 2 series"},
		{name: "far too many", status: 200, body: success("vector", "["+strings.Repeat(`{"value":[1,"1"]},`, 100_000)+`{"value":[1,"1"]}]`), err: "longer than 1 MiB"},
		{name: "a histogram", status: 200, body: success("vector", `[{"metric":{},"histogram":[1,{"count":"3"}]}]`), err: "yields a histogram"},
		{name: "a range", status: 200, body: success("matrix", `[]`), err: "yields a matrix"},
		{name: "text", status: 200, body: success("string", `[1,"hello"]`), err: "yields a string"},
		{name: "an error", status: 400, body: `{"status":"error","errorType":"bad_data","error":"1:5: parse error: unclosed left parenthesis"}`,
			err: "bad_data: 1:5: parse error: unclosed left parenthesis"},
		{name: "a proxy's error", status: 502, body: "<html>Bad Gateway</html>", err: "answered 502 Bad Gateway"},
		{name: "something else", status: 200, body: `{"hello":"world"}`, err: "is the URL right?"},
		{name: "a broken sample", status: 200, body: success("scalar", `["x"]`), err: "x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ts := httptest.NewServer(prometheus{"up > 1": {test.status, test.body}})
			defer ts.Close()
			c, err := promquery.New(strings.Replace(ts.URL, "//", "//me:hush@", 1) + "/prom")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			value, found, err := c.Query(t.Context(), "up > 1")
			if value != test.value || found != test.found || (err == nil) != (test.err == "") {
				t.Errorf("got %v, %t, %v", value, found, err)
			}
			if err != nil && (!strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), "/prom") || strings.Contains(err.Error(), "hush")) {
				t.Errorf("the error is %q, want the URL without its password, and %q", err, test.err)
			}
		})
	}
}

func TestPrometheusThatDoesNotAnswer(t *testing.T) {
	release := make(chan struct{})
	ts := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	c, err := promquery.New(ts.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Query(t.Context(), "up"); err == nil || !strings.Contains(err.Error(), ts.URL+": did not answer within 2s") {
		t.Errorf("hanging: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Query(gone, "up"); err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("cancelled: %v", err)
	}
	close(release)
	ts.Close()
	if _, _, err := c.Query(t.Context(), "up"); err == nil || !strings.Contains(err.Error(), ts.URL+": dial tcp") {
		t.Errorf("gone: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	for address, problem := range map[string]string{
		"http://127.0.0.1:9090":          "",
		"https://prometheus.example/a/":  "",
		"http://user:hush@host:9090":     "",
		"":                               "is not a URL such as",
		"127.0.0.1:9090":                 "is not a URL such as",
		"localhost:9090":                 "is not a URL such as",
		"ftp://host":                     "is not a URL such as",
		"http://:9090":                   "is not a URL such as",
		"http://user:hush@host:x":        "is not a URL such as",
		"http://user:hush@host/?query=1": "more than an address and a path",
		"http://host/#graph":             "more than an address and a path",
	} {
		c, err := promquery.New(address)
		if (err == nil) != (problem == "") || (c == nil) != (err != nil) {
			t.Errorf("%q: %v", address, err)
		}
		if err != nil && (!strings.Contains(err.Error(), problem) || strings.Contains(err.Error(), "hush")) {
			t.Errorf("%q: %v, want %q and no password", address, err, problem)
		}
	}
}
