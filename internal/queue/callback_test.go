package queue_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
	"lofn/internal/queue"
)

// received is a callback as its receiver saw it.
type received struct {
	*http.Request
	body string
	at   time.Time
}

// receiver keeps what it receives, and answers as the handler does.
type receiver struct {
	http.Handler
	mu  sync.Mutex
	got []received
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	r.mu.Lock()
	if err == nil {
		r.got = append(r.got, received{req, string(body), time.Now()})
	}
	r.mu.Unlock()
	r.Handler.ServeHTTP(w, req)
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got
}

// called waits until the callback of a call is over.
func (b *rig) called(id string) lofn.CallbackStatus {
	b.Helper()
	return *b.await(id, "called back", func(s lofn.CallStatus) bool {
		return s.Callback.State == lofn.CallbackDelivered || s.Callback.State == lofn.CallbackFailed
	}).Callback
}

func TestACallbackGetsTheAnswer(t *testing.T) {
	r := &receiver{Handler: answers(status(204))}
	server := httptest.NewServer(r)
	defer server.Close()
	b := start(t, queue.Config{Gateway: answers(status(200, "X-Answer", "yes", "Content-Type", "text/csv", "Connection", "close", "Content-Length", "999", lofn.HeaderStartTime, "17"))})
	b.declare(echo, 1, annotated(lofn.AnnotationRetryAttempts, "3"))
	id := b.submit(lofn.Call{Callback: server.URL + "/there?q=1"}, "")
	if s := b.called(id); s.State != lofn.CallbackDelivered || s.Status != 204 || s.Attempts != 1 {
		t.Errorf("the callback is %+v", s)
	}
	got := r.all()[0]
	if got.Method != "POST" || got.URL.String() != "/there?q=1" || got.body != "body of 200" || got.ContentLength != 11 {
		t.Errorf("it was %s %s with %q (%d bytes)", got.Method, got.URL, got.body, got.ContentLength)
	}
	want := map[string]string{
		"X-Answer": "yes", "Content-Type": "text/csv", lofn.HeaderCallID: id, lofn.HeaderFunctionName: "echo.openfaas-fn", lofn.HeaderFunctionStatus: "200",
		lofn.HeaderStartTime: "17", lofn.HeaderRetry: "1", lofn.HeaderRetryMax: "3", "User-Agent": "lofn-queue-worker/test", "Connection": "", "Webhook-Signature": "",
	}
	for name, value := range want {
		if v := got.Header.Get(name); v != value {
			t.Errorf("%s is %q, want %q", name, v, value)
		}
	}
	var seconds float64
	if _, err := fmt.Sscan(got.Header.Get(lofn.HeaderDurationSeconds), &seconds); err != nil || seconds < 0 {
		t.Errorf("%s is %q", lofn.HeaderDurationSeconds, got.Header.Get(lofn.HeaderDurationSeconds))
	}
}

func TestACallbackOfACallWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{Handler: answers(status(200))}
		b := start(t, queue.Config{Front: r, Gateway: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })})
		b.declare(echo, 1, annotated(lofn.AnnotationRetryAttempts, "2"))
		b.called(b.submit(lofn.Call{Callback: "http://gateway/function/later"}, ""))
		got := r.all()[0]
		if got.Header.Get(lofn.HeaderFunctionStatus) != "503" || got.body != "" || got.Header.Get(lofn.HeaderRetry) != "2" || got.Header.Get(lofn.HeaderRetryMax) != "2" {
			t.Errorf("it was %v with %q", got.Header, got.body)
		}
	})
}

func TestAnswersOfCallbacks(t *testing.T) {
	tests := []struct {
		name     string
		answers  []func(http.ResponseWriter, *http.Request)
		want     string
		attempts int
		reason   string
	}{
		{"taken", []func(http.ResponseWriter, *http.Request){status(202)}, lofn.CallbackDelivered, 1, ""},
		{"see other", []func(http.ResponseWriter, *http.Request){status(303, "Location", "/x")}, lofn.CallbackDelivered, 1, ""},
		{"moved", []func(http.ResponseWriter, *http.Request){status(301, "Location", "/x")}, lofn.CallbackFailed, 1, "301"},
		{"refused", []func(http.ResponseWriter, *http.Request){status(401)}, lofn.CallbackFailed, 1, "401"},
		{"passing", []func(http.ResponseWriter, *http.Request){status(500), status(408), status(425), status(429), status(200)}, lofn.CallbackDelivered, 5, ""},
		{"broken", []func(http.ResponseWriter, *http.Request){status(503)}, lofn.CallbackFailed, 10, "503 (attempt 10 of 10)"},
		{"broken off", []func(http.ResponseWriter, *http.Request){func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, status(200)}, lofn.CallbackDelivered, 2, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, queue.Config{Front: answers(test.answers...), Gateway: answers(status(200))})
				b.declare(echo, 1, lofn.Spec{})
				s := b.called(b.submit(lofn.Call{Callback: "https://Gateway.openfaas:8080/function/later"}, ""))
				if s.State != test.want || s.Attempts != test.attempts || !strings.Contains(s.Reason, test.reason) || (test.reason == "") != (s.Reason == "") {
					t.Errorf("the callback is %+v", s)
				}
				if len(b.callbacks) != test.attempts {
					t.Errorf("counted were %v", b.callbacks)
				}
			})
		})
	}
}

func TestWaitsBetweenCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{Handler: answers(status(500), status(500), status(503, "Retry-After", "600"), status(500))}
		b := start(t, queue.Config{Front: r, Gateway: answers(status(200))})
		b.declare(echo, 1, lofn.Spec{})
		b.called(b.submit(lofn.Call{Callback: "http://gateway/function/later"}, ""))
		got := r.all()
		for i, bounds := range [][2]float64{{.5, 1}, {1, 2}, {600, 600}, {4, 8}, {8, 16}, {16, 32}, {32, 64}, {60, 120}, {60, 120}} {
			if waited := got[i+1].at.Sub(got[i].at).Seconds(); waited < bounds[0] || waited > bounds[1]+.001 {
				t.Errorf("the wait after attempt %d was %v s, want %v to %v", i+1, waited, bounds[0], bounds[1])
			}
		}
	})
}

func TestCallbacksThatCannotBeSent(t *testing.T) {
	for url, reason := range map[string]string{
		"ftp://host/":       "not one of http or https",
		"http:///path":      "with a host",
		"http://host:a/":    "cannot be read",
		"http://ho st/\x7f": "cannot be read",
	} {
		b := start(t, queue.Config{Gateway: answers(status(200))})
		b.declare(echo, 1, lofn.Spec{})
		if s := b.called(b.submit(lofn.Call{Callback: url}, "")); s.State != lofn.CallbackFailed || s.Attempts != 1 || !strings.Contains(s.Reason, reason) {
			t.Errorf("%q: the callback is %+v", url, s)
		}
	}
}

func TestRedirectsOfCallbacks(t *testing.T) {
	r := &receiver{Handler: answers(status(200))}
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/loop":
			http.Redirect(w, req, server.URL+"/loop", http.StatusPermanentRedirect)
		case "/there":
			r.ServeHTTP(w, req)
		default:
			http.Redirect(w, req, server.URL+"/there", http.StatusTemporaryRedirect)
		}
	}))
	defer server.Close()
	b := start(t, queue.Config{Gateway: answers(status(200))})
	b.declare(echo, 1, lofn.Spec{})
	if s := b.called(b.submit(lofn.Call{Callback: server.URL + "/here"}, "")); s.State != lofn.CallbackDelivered || len(r.all()) != 1 || r.all()[0].body != "body of 200" {
		t.Errorf("the callback is %+v", s)
	}
	id := b.submit(lofn.Call{Callback: server.URL + "/loop"}, "")
	s := b.await(id, "tried", func(s lofn.CallStatus) bool { return s.Callback.Reason != "" })
	if !strings.Contains(s.Callback.Reason, "redirected") || strings.Contains(s.Callback.Reason, server.URL) {
		t.Errorf("the callback is %+v", s.Callback)
	}
}

// TestASlowReceiverHoldsUpNobodyElse has a function whose callbacks take long,
// most of them.
func TestASlowReceiverHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGauge()
		b := start(t, queue.Config{
			Gateway: answers(status(200)), Callbacks: 200,
			Front: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if functionOf(r) == "slow" {
					g.handler(after(time.Hour, 200)).ServeHTTP(w, r)
				}
			}),
		})
		for _, ref := range []lofn.Ref{echo, named("other")} {
			b.declare(ref, 1, lofn.Spec{})
		}
		deliver := func(ref lofn.Ref, to string) string {
			return b.submit(lofn.Call{Function: ref, Callback: "http://gateway/function/" + to + ".openfaas-fn"}, "")
		}
		for range 40 {
			deliver(echo, "slow")
		}
		time.Sleep(time.Millisecond)
		if n := g.count(g.now, "slow"); n != 8 {
			t.Errorf("one function has %d callbacks under way, want 8", n)
		}
		began := time.Now()
		b.called(deliver(named("other"), "good"))
		if took := time.Since(began); took > time.Second {
			t.Errorf("the callback of another function took %v", took)
		}
		b.called(deliver(echo, "good"))
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the callback of the same function took %v", took)
		}
		for range 40 {
			deliver(echo, "slow")
		}
		time.Sleep(time.Minute)
		if n := g.count(g.now, "slow"); n != 64 {
			t.Errorf("one function has %d slow callbacks under way, want 64", n)
		}
		for _, id := range []string{deliver(echo, "good"), deliver(named("other"), "good")} {
			b.called(id)
		}
	})
}

func TestAReceiverHasBoundedTime(t *testing.T) {
	released := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-released }))
	defer server.Close()
	defer close(released)
	b := start(t, queue.Config{Gateway: answers(status(200)), CallbackTime: 50 * time.Millisecond})
	b.declare(echo, 1, lofn.Spec{})
	id := b.submit(lofn.Call{Callback: server.URL}, "")
	s := b.await(id, "tried", func(s lofn.CallStatus) bool { return s.Callback.Reason != "" })
	if s.Callback.State != lofn.CallbackPending || !strings.Contains(s.Callback.Reason, "no answer within 50ms") {
		t.Errorf("the callback is %+v", s.Callback)
	}
}

func TestDrainCutsCallbacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, queue.Config{Front: http.HandlerFunc(hang), Gateway: answers(status(200))})
		b.declare(echo, 1, lofn.Spec{})
		id := b.submit(lofn.Call{Callback: "http://gateway/function/later"}, "")
		b.outcome(id)
		synctest.Wait()
		b.stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.worker.Drain(ctx); err != nil {
			t.Error(err)
		}
		if s := b.status(id).Callback; s.State != lofn.CallbackPending || s.NextAt.After(time.Now()) {
			t.Errorf("the callback is %+v", s)
		}
	})
}

// vault has one secret, once it is set.
type vault struct {
	mu    sync.Mutex
	value string
}

func (v *vault) Secret(_ context.Context, namespace, name string) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.value == "" || namespace != lofn.DefaultNamespace || name != "hook-key" {
		return nil, lofn.Errorf(lofn.NotFound, "there is no secret %s", name)
	}
	return []byte(v.value), nil
}

func (v *vault) set(value string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.value = value
}

func TestSignedCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, secrets := &receiver{Handler: answers(status(200))}, &vault{}
		b := start(t, queue.Config{Front: r, Secrets: secrets, Gateway: answers(status(200))})
		b.declare(echo, 1, annotated(lofn.AnnotationCallbackSecret, "hook-key"))
		id := b.submit(lofn.Call{ID: "my.own%id", Callback: "http://gateway/function/later"}, "")
		s := b.await(id, "tried", func(s lofn.CallStatus) bool { return s.Callback.Reason != "" })
		if s.Callback.State != lofn.CallbackPending || !strings.Contains(s.Callback.Reason, `secret "hook-key"`) {
			t.Errorf("without its secret the callback is %+v", s.Callback)
		}
		for value, key := range map[string]string{
			"plain key\n":                "plain key",
			"whsec_MTIzNDU2Nzg5MA==\r\n": "1234567890",
		} {
			secrets.set(value)
			if id != "" {
				b.called(id)
				id = ""
			} else {
				b.called(b.submit(lofn.Call{ID: "my.own%id", Callback: "http://gateway/function/later"}, ""))
			}
			got := r.all()[len(r.all())-1]
			verify(t, got, key)
		}
	})
}

// verify does what the doc comment of sign tells receivers to do.
func verify(t *testing.T, got received, key string) {
	t.Helper()
	id, at := got.Header.Get("Webhook-Id"), got.Header.Get("Webhook-Timestamp")
	if strings.Contains(id, ".") || !strings.HasPrefix(id, "my%2Eown") && strings.HasPrefix(got.Header.Get(lofn.HeaderCallID), "my.own") {
		t.Errorf("the id is %q of call %q", id, got.Header.Get(lofn.HeaderCallID))
	}
	if at != fmt.Sprint(got.at.Unix()) {
		t.Errorf("the timestamp is %q at %d", at, got.at.Unix())
	}
	sum := hmac.New(sha256.New, []byte(key))
	sum.Write([]byte(id + "." + at + "." + got.body))
	if want := "v1," + base64.StdEncoding.EncodeToString(sum.Sum(nil)); got.Header.Get("Webhook-Signature") != want {
		t.Errorf("the signature is %q, want %q", got.Header.Get("Webhook-Signature"), want)
	}
}

func TestSecretsThatAreNoKeys(t *testing.T) {
	for value, reason := range map[string]string{"whsec_?": "not base64", " \n": "is empty"} {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, queue.Config{Front: answers(status(200)), Secrets: &vault{value: value}, Gateway: answers(status(200))})
			b.declare(echo, 1, annotated(lofn.AnnotationCallbackSecret, "hook-key"))
			s := b.called(b.submit(lofn.Call{Callback: "http://gateway/function/later"}, ""))
			if s.State != lofn.CallbackFailed || s.Attempts != 10 || !strings.Contains(s.Reason, reason) || strings.Contains(s.Reason, "?") {
				t.Errorf("with %q the callback is %+v", value, s)
			}
		})
	}
}
