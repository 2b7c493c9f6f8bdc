package gateway_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/gateway"
	"lofn/internal/queue/ledger"
	queuemem "lofn/internal/queue/mem"
)

// deployed are functions that nobody runs.
type deployed map[lofn.Ref]*lofn.Policy

func (d deployed) Policy(ref lofn.Ref) (*lofn.Policy, bool) {
	policy, ok := d[ref]
	return policy, ok
}

// declare deploys a function with annotations, name and value in turn.
func (d deployed) declare(t testing.TB, ref lofn.Ref, annotations ...string) {
	t.Helper()
	fn := lofn.Function{Ref: ref, Spec: lofn.Spec{Image: "x", Annotations: make(map[string]string)}}
	for i := 0; i < len(annotations); i += 2 {
		fn.Spec.Annotations[annotations[i]] = annotations[i+1]
	}
	policy, err := fn.Policy()
	if err != nil {
		t.Fatal(err)
	}
	d[ref] = &policy
}

// submitting is a gateway before a queue, without anybody who works it off.
type submitting struct {
	testing.TB
	url       string
	functions deployed
	queue     *ledger.Ledger
}

func startAsync(t testing.TB) *submitting {
	t.Helper()
	queue, err := queuemem.New(lofn.DefaultQueueLimits, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = queue.Close(context.Background()) })
	s := &submitting{TB: t, functions: deployed{}, queue: queue}
	s.functions.declare(t, echo)
	s.url = serveAsync(t, s.functions, queue)
	return s
}

func newAsync(functions deployed, queue lofn.Queue) *gateway.Gateway {
	return gateway.New(gateway.Config{Functions: functions, Queue: queue, Release: "test", Log: slog.New(slog.DiscardHandler)})
}

func serveAsync(t testing.TB, functions deployed, queue lofn.Queue) string {
	server := httptest.NewServer(http.HandlerFunc(newAsync(functions, queue).Async))
	t.Cleanup(server.Close)
	return server.URL
}

// do makes a request; headers are name and value in turn.
func (s *submitting) do(method, path string, body io.Reader, headers ...string) (*http.Response, string) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, body)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return roundTrip(s, req)
}

// accept is do for a submit that is to be accepted. It returns the call's ID.
func (s *submitting) accept(method, path, body string, headers ...string) string {
	s.Helper()
	resp, text := s.do(method, path, strings.NewReader(body), headers...)
	if resp.StatusCode != http.StatusAccepted || text != "" {
		s.Fatalf("%s %s: got %d %q, want 202 and nothing", method, path, resp.StatusCode, text)
	}
	return resp.Header.Get("X-Call-Id")
}

// take leases the one call of a function that is due.
func (s *submitting) take(ref lofn.Ref) lofn.Delivery {
	s.Helper()
	list, err := s.queue.Take(s.Context(), lofn.Lane{Function: ref}, 10)
	if err != nil || len(list) != 1 {
		s.Fatalf("%d calls of %s are due (%v), want one", len(list), ref, err)
	}
	return list[0]
}

func (s *submitting) bodyOf(d lofn.Delivery) string {
	s.Helper()
	body, err := d.Body(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		s.Fatal(err)
	}
	return string(data)
}

// settle ends a delivery with the answer given.
func (s *submitting) settle(d lofn.Delivery, state lofn.CallState, status int, header http.Header, body string) {
	s.Helper()
	spool := d.Spool()
	if _, err := io.WriteString(spool, body); err != nil {
		s.Fatal(err)
	}
	err := d.Settle(s.Context(), lofn.Settlement{State: state, Status: status, Header: header, Body: spool, Started: time.Now(), Reason: "as it is"})
	if err != nil {
		s.Fatal(err)
	}
}

// open is how many calls wait or run.
func (s *submitting) open() (n int) {
	s.queue.Counts(func(_ lofn.Ref, c lofn.QueueCounts) { n += c.Queued + c.Running })
	return n
}
