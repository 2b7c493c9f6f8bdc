package cli_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/api"
	"lofn/internal/auth"
	"lofn/internal/cli"
	"lofn/internal/queue/mem"
)

// platform is the real control API over a real queue, whose calls the test
// makes.
type platform struct {
	*testing.T
	queue lofn.Queue
	url   string
}

func newPlatform(t *testing.T) platform {
	t.Helper()
	queue, err := mem.New(lofn.DefaultQueueLimits, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(api.New(api.Config{Queue: queue, Auth: auth.None{}, Log: slog.New(slog.DiscardHandler)}))
	t.Cleanup(func() {
		server.Close()
		if err := queue.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return platform{t, queue, server.URL}
}

// submit queues a call of a function.
func (p platform) submit(id, function string) {
	p.Helper()
	_, err := p.queue.Enqueue(p.Context(), lofn.Submission{
		Call: lofn.Call{
			ID: id, Function: lofn.ParseHost(function), Method: http.MethodPut, Path: "/a/b", Query: "c=d",
			Header: http.Header{"X-Test": {"yes"}, "Authorization": {"Bearer s3cret"}}, Callback: "http://a.example/hook", Accepted: time.Now(),
		},
		Body: strings.NewReader("hello"),
	})
	if err != nil {
		p.Fatal(err)
	}
}

// settle makes the function's calls that are due, with an answer of its own.
func (p platform) settle(function string, state lofn.CallState, status int, reason, answer string) {
	p.Helper()
	calls, err := p.queue.Take(p.Context(), lofn.Lane{Function: lofn.ParseHost(function)}, 10)
	if err != nil || len(calls) == 0 {
		p.Fatalf("took %d calls, %v", len(calls), err)
	}
	for _, d := range calls {
		s := lofn.Settlement{State: state, Status: status, Reason: reason, Started: time.Now(), Due: time.Now().Add(time.Hour), Body: d.Spool()}
		_, _ = io.WriteString(s.Body, answer)
		if state == lofn.CallQueued {
			s.Body.Discard()
			s.Body = nil
		}
		if err := d.Settle(p.Context(), s); err != nil {
			p.Fatal(err)
		}
	}
}

// run is a command line, and what it has to print and to end with.
func (p platform) run(line string, code int, patterns ...string) {
	p.Helper()
	var out strings.Builder
	got := cli.Main(p.Context(), cli.Env{
		Args: strings.Fields(line), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
		Getenv: func(name string) string {
			return map[string]string{"OPENFAAS_URL": p.url, "HOME": "/nonexistent"}[name]
		},
	})
	if got != code {
		p.Errorf("%s: exit code %d, want %d", line, got, code)
	}
	for _, pattern := range patterns {
		if !regexp.MustCompile(`(?m)^` + pattern + `$`).MatchString(out.String()) {
			p.Errorf("%s: no line is like %s:\n%s", line, pattern, out.String())
		}
	}
}

// The commands and the platform mean the same: the other tests have a gateway
// that was made for them.
func TestQueueOfThePlatform(t *testing.T) {
	p := newPlatform(t)
	p.run("queue list", 0, `Call +Function +State +Attempts +Status +Age`)
	for id, function := range map[string]string{"good": "good", "busy": "busy", "bad": "bad.dev", "wrong": "wrong"} {
		p.submit(id, function)
	}
	p.run("queue show good", 0, `State: +queued.*`, `Request: +PUT /a/b\?c=d, 5 bytes`, `.* +X-Test: yes`, `Callback: +http://a.example/hook`, ` +waits for the outcome`)
	p.run("queue result good", 1, `lofn: call good is queued: .*; --wait waits for it`)
	p.run("queue redrive good", 1, `call good cannot be redriven: .*`, `lofn: good was not redriven`)
	p.settle("good", lofn.CallSucceeded, 200, "", "42\n")
	p.settle("busy", lofn.CallQueued, 503, "the function answered 503", "")
	p.settle("bad.dev", lofn.CallDead, 500, "the function answered 500", "oh dear\n")
	p.settle("wrong", lofn.CallFailed, 422, "the function answered 422", "no such sample\n")

	p.run("queue list --state succeeded", 0, `good +good +succeeded +1 +200 .*`)
	p.run("queue list bad -n dev", 0, `bad +bad.dev +dead +1 +500 +\d+s +the function answered 500`)
	p.run("queue list -n dev -q", 0, `bad`)
	p.run("queue show busy", 0, `State: +queued, attempt 2 in (59m|1h).*`, `Status: +503 Service Unavailable`)
	p.run("queue show bad --json", 0, ` +"state": "dead",`, ` +"X-Test": \[`)
	p.run("queue result --wait good", 0, `42`)
	p.run("queue result bad", 1, `oh dear`, `lofn: call bad was answered 500 Internal Server Error`)
	p.run("queue result wrong", 1, `no such sample`)
	p.run("queue stats", 0, `bad.dev +0 +0 +1 +- +1 +1 +1 +0`, `busy +1 +0 +0 +\d+s +0 +1 +0 +1`)
	p.run("queue stats -n dev --json", 0, ` +"function": "bad.dev",`)

	p.run("queue cancel busy", 0, `Cancelled: busy`)
	p.run("queue cancel busy", 1, `call busy cannot be cancelled: .*`)
	p.run("queue result busy", 1, `lofn: call busy is cancelled, and there is no answer.*`)
	p.run("queue redrive --all bad.dev", 0, `Redriven: 1 call of bad.dev`)
	p.settle("bad.dev", lofn.CallDead, 500, "the function answered 500", "")
	p.run("queue drop --all bad -n dev --yes", 0, `Dropped: 1 call of bad.dev`)
	p.run("queue show bad", 1, `lofn: no such call: bad; .*`)
	p.run("queue drop bad", 1, `call "bad" is not known: .*`)
}
