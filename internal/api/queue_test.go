package api_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/api"
	"lofn/internal/auth/basic"
)

// enqueue puts a call into the queue.
func (s server) enqueue(id string, function lofn.Ref) {
	s.Helper()
	header := http.Header{"X-A": {"1"}, "Authorization": {"Bearer secret"}, "Cookie": {"session=secret", "b=secret"}}
	_, err := s.queue.Enqueue(s.Context(), lofn.Submission{
		Call: lofn.Call{ID: id, Function: function, Method: "PUT", Path: "/a", Query: "b=c", Header: header, Accepted: time.Now()},
		Body: strings.NewReader("12345"),
	})
	if err != nil {
		s.Fatal(err)
	}
}

// settle takes the function's next call and ends it.
func (s server) settle(function lofn.Ref, state lofn.CallState, answer string) {
	s.Helper()
	list, err := s.queue.Take(s.Context(), lofn.Lane{Function: function}, 1)
	if err != nil || len(list) != 1 {
		s.Fatalf("%d calls are due (%v)", len(list), err)
	}
	end := lofn.Settlement{State: state, Status: 500, Reason: "it said no", Started: time.Now(), Header: http.Header{"Content-Type": {"text/x"}}}
	if answer != "" {
		end.Body = list[0].Spool()
		_, _ = io.WriteString(end.Body, answer)
	}
	if err := list[0].Settle(s.Context(), end); err != nil {
		s.Fatal(err)
	}
}

func TestTheQueue(t *testing.T) {
	s := start(t)
	echo, other := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}, lofn.Ref{Namespace: "dev", Name: "echo"}
	s.run([]step{
		{"GET", "/system/queue", "", 200, "[]\n"},
		{"GET", "/system/queue/calls", "", 200, "[]\n"},
		{"GET", "/system/queue/calls/1", "", 404, `call "1" is not known`},
		{"GET", "/system/queue/calls/1/result", "", 404, `call "1" is not known`},
		{"POST", "/system/queue/calls/1/redrive", "", 404, `call "1" is not known`},
		{"POST", "/system/queue/calls/1/cancel", "", 404, `call "1" is not known`},
		{"DELETE", "/system/queue/calls/1", "", 404, `call "1" is not known`},
	})
	s.enqueue("1", echo)
	s.settle(echo, lofn.CallDead, "why")
	s.enqueue("2", echo)
	s.enqueue("3", other)
	s.run([]step{
		{"GET", "/system/queue", "", 200, `[{"function":"echo.dev","queued":1,`},
		{"GET", "/system/queue?namespace=dev", "", 200, `[{"function":"echo.dev"`},
		{"GET", "/system/queue?namespace=none", "", 200, "[]\n"},
		{"GET", "/system/queue/calls/1", "", 200, `"reason":"it said no"`},
		{"GET", "/system/queue/calls/1", "", 200, `"method":"PUT","path":"/a","query":"b=c","header":{"Authorization":["(hidden)"],"Cookie":["(hidden)","(hidden)"],"X-A":["1"]},"size":5}`},
		{"GET", "/system/queue/calls/1/result", "", 200, "why"},
		{"GET", "/system/queue/calls/2/result", "", 409, "call 2 is queued"},
		{"POST", "/system/queue/calls/2/redrive", "", 409, "2"},
		{"DELETE", "/system/queue/calls/2", "", 409, "2"},
		{"POST", "/system/queue/calls/1/cancel", "", 409, "1"},
		{"POST", "/system/queue/calls/2/cancel", "", 202, `"state":"cancelled"`},
		{"POST", "/system/queue/calls/2/cancel", "", 409, "2"},
		{"GET", "/system/queue/calls/2", "", 200, `"method":""`},
		{"POST", "/system/queue/calls/1/redrive", "", 202, `"state":"queued"`},
		{"DELETE", "/system/queue/calls/1", "", 409, "1"},
	})
	s.settle(echo, lofn.CallDead, "")
	s.run([]step{
		{"GET", "/system/queue/calls/1/result", "", 404, "1"},
		{"DELETE", "/system/queue/calls/1", "", 202, ""},
		{"GET", "/system/queue/calls/1", "", 404, `call "1" is not known`},
		{"PATCH", "/system/queue/calls/1", "", 405, ""},
	})
}

func TestCallsAreListed(t *testing.T) {
	s := start(t)
	echo, other := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}, lofn.Ref{Namespace: "dev", Name: "other"}
	for _, id := range []string{"a", "b", "c"} {
		s.enqueue(id, echo)
	}
	s.settle(echo, lofn.CallDead, "") // a
	s.settle(echo, lofn.CallFailed, "")
	s.enqueue("d", other)
	for query, want := range map[string]string{
		"":                                     "a b c d",
		"?namespace=dev":                       "d",
		"?namespace=openfaas-fn&function=echo": "a b c",
		"?function=echo":                       "a b c",
		"?function=other.dev":                  "d",
		"?function=other.dev&namespace=dev":    "d",
		"?function=none":                       "",
		"?state=dead":                          "a",
		"?state=dead,failed":                   "a b",
		"?state=dead&state=failed,%20queued":   "a b c d",
		"?state=":                              "a b c d",
		"?limit=2":                             "a b",
		"?limit=10000&state=queued":            "c d",
	} {
		status, answer := s.do("GET", "/system/queue/calls"+query, "")
		var list []lofn.CallStatus
		if err := json.Unmarshal([]byte(answer), &list); err != nil || status != 200 {
			t.Errorf("%s: got %d %s", query, status, answer)
		}
		ids := []string{}
		for _, c := range list {
			ids = append(ids, c.ID)
		}
		if !slices.Equal(ids, strings.Fields(want)) {
			t.Errorf("%s: got %v, want %s", query, ids, want)
		}
	}
	s.run([]step{
		{"GET", "/system/queue/calls?limit=0", "", 400, `limit: "0" is not a whole number from 1 to 10000`},
		{"GET", "/system/queue/calls?limit=10001", "", 400, "limit"},
		{"GET", "/system/queue/calls?limit=many", "", 400, "limit"},
		{"GET", "/system/queue/calls?state=lost", "", 400, `state: "lost" is none: use some of [queued running succeeded failed dead cancelled]`},
		{"GET", "/system/queue/calls?state=dead,LOST", "", 400, "state"},
		{"GET", "/system/queue/calls?function=other.dev&namespace=prod", "", 400, `function: "other.dev" is not in namespace "prod"`},
	})
	for i := range 120 {
		s.enqueue("more"+strings.Repeat("x", i), echo)
	}
	_, answer := s.do("GET", "/system/queue/calls", "")
	if n := strings.Count(answer, `"id":`); n != 100 {
		t.Errorf("%d calls are listed to who asks for no number, want 100", n)
	}
}

func TestTheQueueIsNotForEverybody(t *testing.T) {
	s := start(t)
	for _, path := range []string{"", "/calls", "/calls/1", "/calls/1/result"} {
		resp, err := http.Get(s.url + "/system/queue" + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 401 {
			t.Errorf("%s: got %d without credentials", path, resp.StatusCode)
		}
	}
}

func TestWithoutAQueueItsRoutesSaySo(t *testing.T) {
	ts := httptest.NewServer(api.New(api.Config{Auth: basic.Credentials{User: "admin", Password: "secret"}, Log: slog.New(slog.DiscardHandler)}))
	defer ts.Close()
	server{T: t, url: ts.URL}.run([]step{
		{"GET", "/system/queue", "", 501, "no queue"},
		{"GET", "/system/queue/calls", "", 501, "no queue"},
		{"GET", "/system/queue/calls/1", "", 501, "no queue"},
		{"POST", "/system/queue/calls/1/redrive", "", 501, "no queue"},
	})
}
