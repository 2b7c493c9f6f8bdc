package queue_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/gateway"
	"lofn/internal/invoke"
	"lofn/internal/pool"
	"lofn/internal/queue"
	"lofn/internal/telemetry"
)

// stack is a worker before the real gateway, with one function on a socket.
func stack(t testing.TB, fn http.HandlerFunc, spec lofn.Spec) *rig {
	t.Helper()
	replicas := pool.New(pool.Config{})
	caller := invoke.NewCaller(replicas)
	t.Cleanup(caller.Close)
	front := gateway.New(gateway.Config{
		Caller: caller, Functions: replicas, Meter: telemetry.New(), Release: "test", Log: slog.New(slog.DiscardHandler),
	})
	server := httptest.NewServer(fn)
	t.Cleanup(server.Close)
	b := start(t, queue.Config{Functions: replicas, Gateway: front, Front: front})
	b.pool = replicas
	replicas.Declare(lofn.Function{Ref: echo, Replicas: 1, Spec: spec})
	replicas.Update(lofn.Replica{Function: echo, ID: "one", State: lofn.Ready, Network: "tcp", Address: server.Listener.Addr().String()})
	return b
}

// pattern is so many bytes that are not all the same.
func pattern(size int64) io.Reader {
	return io.LimitReader(&rolling{}, size)
}

type rolling struct{ at byte }

func (r *rolling) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.at
		r.at += 7
	}
	return len(p), nil
}

func sum(r io.Reader) string {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return fmt.Sprint(n, err, hex.EncodeToString(h.Sum(nil)))
}

func TestTheRoadIsTheGateways(t *testing.T) {
	const large = 100 << 20
	b := stack(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Client", r.Header.Get("X-Forwarded-For"))
		w.Header().Set("X-Id", r.Header.Get("X-Call-Id"))
		switch r.URL.Path {
		case "/large":
			_, _ = io.Copy(w, pattern(large))
		case "/sum":
			_, _ = io.WriteString(w, sum(r.Body))
		case "/slow":
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}, lofn.Spec{Env: map[string]string{lofn.EnvTimeout: "20s"}, Annotations: map[string]string{lofn.AnnotationRetryAttempts: "1"}})

	id := b.submit(lofn.Call{Method: "GET", Path: "/large", Remote: "192.0.2.7:1234"}, "")
	b.outcome(id)
	r, err := b.queue.Result(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if got, want := sum(r.Body), sum(pattern(large)); got != want || r.Size != large {
		t.Errorf("of a large answer there is %s (%d bytes), want %s", got, r.Size, want)
	}
	if r.Header.Get("X-Client") != "192.0.2.7:1234" || r.Header.Get("X-Id") != id || r.Header.Get("X-Served-By") == "" {
		t.Errorf("the header is %v", r.Header)
	}
	body := strings.Repeat("0123456789", 1<<20)
	id = b.submit(lofn.Call{Method: "POST", Path: "/sum"}, body)
	b.outcome(id)
	if _, text := b.result(id); text != sum(strings.NewReader(body)) {
		t.Errorf("of a large body came %s", text)
	}
	if s := b.outcome(b.submit(lofn.Call{Method: "POST", Path: "/other"}, "")); s.State != lofn.CallFailed || s.Status != 404 {
		t.Errorf("the function's 404 is %+v", s)
	}
	s := b.outcome(b.submit(lofn.Call{Method: "POST", Path: "/slow", Header: http.Header{lofn.HeaderTimeout: {"50ms"}}}, "body"))
	if s.State != lofn.CallDead || s.Status != 504 || !strings.Contains(s.Reason, "did not finish within 50ms") {
		t.Errorf("a call whose time ran out is %+v", s)
	}
	if s := b.outcome(b.submit(lofn.Call{Function: named("gone")}, "")); s.State != lofn.CallDead || s.Attempts != 1 || !strings.Contains(s.Reason, "not deployed any more") {
		t.Errorf("a call of a function that is gone is %+v", s)
	}
}

func TestAnAnswerThatIsBrokenOff(t *testing.T) {
	b := stack(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(lofn.HeaderRetry) != "2" {
			w.Header().Set("Content-Length", "1000000")
			_, _ = w.Write(make([]byte, 500_000))
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "whole")
	}, annotated(lofn.AnnotationRetryMinWait, "1"))
	id := b.submit(lofn.Call{}, "")
	s := b.await(id, "broken", func(s lofn.CallStatus) bool { return s.Reason != "" })
	if s.Status != http.StatusBadGateway || !strings.Contains(s.Reason, "broke its answer off: it began with status 200") {
		t.Errorf("the call is %+v", s)
	}
	if s := b.outcome(id); s.State != lofn.CallSucceeded || s.Attempts != 2 {
		t.Errorf("in the end it is %+v", s)
	}
	if _, text := b.result(id); text != "whole" {
		t.Errorf("its result is %q", text)
	}
}

// stalledDelivery has a body that stops coming.
type stalledDelivery struct{ lofn.Delivery }

func (stalledDelivery) Body(ctx context.Context) (io.ReadCloser, error) {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	go func() { _, _ = io.Copy(w, pattern(stalledAfter)) }()
	return r, nil
}

const stalledAfter = 64 << 10

func TestAnAnswerEndsTheReadingOfTheBody(t *testing.T) {
	b := stack(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, stalledAfter)
		_, _ = io.WriteString(w, "enough")
	}, lofn.Spec{})
	b.wrap = func(d lofn.Delivery) lofn.Delivery { return stalledDelivery{d} }
	// A server reads what is left of a small body before it answers.
	if s := b.outcome(b.submit(lofn.Call{}, strings.Repeat("body", 1<<20))); s.State != lofn.CallSucceeded {
		t.Errorf("the call is %+v", s)
	}
}

func TestCancelReachesTheFunction(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	b := stack(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		close(began)
		<-r.Context().Done()
		close(ended)
	}, lofn.Spec{})
	id := b.submit(lofn.Call{}, "")
	<-began
	if _, err := b.queue.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	<-ended
	if s := b.outcome(id); s.State != lofn.CallCancelled {
		t.Errorf("the call is %+v", s)
	}
}

// TestACallWakesItsFunction has no replica at first.
func TestACallWakesItsFunction(t *testing.T) {
	b := stack(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "awake") }, lofn.Spec{})
	lease, err := b.pool.Lease(t.Context(), echo)
	if err != nil {
		t.Fatal(err)
	}
	there := lease.Replica()
	lease.Release()
	b.pool.Declare(lofn.Function{Ref: echo})
	gone := there
	gone.State = lofn.Gone
	b.pool.Update(gone)
	ids := make([]string, 30)
	for i := range ids {
		ids[i] = b.submit(lofn.Call{}, "")
	}
	b.until("calls wait for a replica", func() bool {
		_, waiting := b.pool.Load(echo)
		return waiting == 8
	})
	b.pool.Update(there)
	for _, id := range ids {
		if s := b.outcome(id); s.State != lofn.CallSucceeded || s.Attempts != 1 {
			t.Errorf("the call is %+v", s)
		}
	}
}

// TestACallbackMayBeAFunction has the front put another call into the queue.
func TestACallbackMayBeAFunction(t *testing.T) {
	b := stack(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s of %s %s", r.URL.Path, r.Header.Get(lofn.HeaderFunctionName), body)
		if r.URL.Path == "/second" && r.Header.Get("X-Test") == "first" {
			panic("the header of the first request came along")
		}
	}, lofn.Spec{})
	s := b.called(b.submit(lofn.Call{Method: "POST", Path: "/first", Header: http.Header{"X-Test": {"first"}}, Callback: "http://gateway:8080/function/echo/second"}, "a"))
	if s.State != lofn.CallbackDelivered || s.Status != http.StatusOK {
		t.Errorf("the callback is %+v", s)
	}
	s = b.called(b.submit(lofn.Call{Method: "POST", Path: "/first", Callback: "http://gateway.openfaas/function/none"}, "a"))
	if s.State != lofn.CallbackFailed || s.Status != http.StatusNotFound {
		t.Errorf("a callback to a function that there is not is %+v", s)
	}
}

func (b *rig) until(what string, condition func() bool) {
	b.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); {
		if time.Now().After(end) {
			b.Fatalf("waited in vain until %s", what)
		}
		select {
		case <-time.After(time.Millisecond):
		case <-b.Context().Done():
			b.FailNow()
		}
	}
}

func TestAReceiverThatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	b := start(t, queue.Config{Gateway: answers(status(200))})
	b.declare(echo, 1, lofn.Spec{})
	id := b.submit(lofn.Call{Callback: "http://" + l.Addr().String() + "/?token=secret"}, "")
	s := b.await(id, "tried", func(s lofn.CallStatus) bool { return s.Callback.Reason != "" }).Callback
	if s.State != lofn.CallbackPending || !strings.Contains(s.Reason, "connection refused") || strings.Contains(s.Reason, "secret") {
		t.Errorf("the callback is %+v", s)
	}
}
