package queue_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
	"lofn/internal/queue"
)

func TestACallIsMadeAsItsClientWouldMakeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen *http.Request
		var body string
		b := start(t, queue.Config{Gateway: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen = r
			text, _ := io.ReadAll(r.Body)
			body = string(text)
			w.Header().Set("X-Answer", "yes")
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, "done")
		})})
		b.declare(echo, 1, lofn.Spec{})
		id := b.submit(lofn.Call{
			Method: "PUT", Path: "/a%2Fb/c", Query: "q=1&r", Host: "lofn.example", Remote: "192.0.2.7:1234", Callback: "http://gateway/function/later",
			Header: http.Header{
				"X-Own": {"1", "2"}, "X-Forwarded-For": {"198.51.100.1"}, "Upgrade": {"websocket"}, "Expect": {"100-continue"},
				lofn.HeaderCallback: {"http://gateway/function/later"}, lofn.HeaderIdempotencyKey: {"once"},
			},
		}, "the body")
		s := b.outcome(id)
		if s.State != lofn.CallSucceeded || s.Status != http.StatusCreated || s.Attempts != 1 {
			t.Errorf("the call is %+v", s)
		}
		r, text := b.result(id)
		if text != "done" || r.Status != http.StatusCreated || r.Header.Get("X-Answer") != "yes" {
			t.Errorf("the result is %d %v %q", r.Status, r.Header, text)
		}
		if seen.Method != "PUT" || seen.URL.EscapedPath() != "/function/echo.openfaas-fn/a%2Fb/c" || seen.URL.RawQuery != "q=1&r" || body != "the body" {
			t.Errorf("the function was sent %s %s with %q", seen.Method, seen.URL, body)
		}
		if seen.Host != "lofn.example" || seen.RemoteAddr != "192.0.2.7:1234" || seen.ContentLength != int64(len(body)) {
			t.Errorf("it came from %s for %s with %d bytes", seen.RemoteAddr, seen.Host, seen.ContentLength)
		}
		want := map[string]string{
			"X-Own": "1", "X-Forwarded-For": "198.51.100.1", "Upgrade": "", "Expect": "", lofn.HeaderCallID: id, lofn.HeaderRetry: "1", lofn.HeaderRetryMax: "10",
			lofn.HeaderCallback: "http://gateway/function/later", lofn.HeaderIdempotencyKey: "once",
		}
		for name, value := range want {
			if got := seen.Header.Get(name); got != value {
				t.Errorf("%s is %q, want %q", name, got, value)
			}
		}
	})
}

func TestOutcomes(t *testing.T) {
	spec := annotated(lofn.AnnotationRetryAttempts, "3", lofn.AnnotationRetryCodes, "500,503")
	platform := func(code int) func(http.ResponseWriter, *http.Request) {
		return status(code, lofn.HeaderInternal, "gateway")
	}
	broken := func(w http.ResponseWriter, r *http.Request) {
		status(200)(w, r)
		panic(http.ErrAbortHandler)
	}
	tests := []struct {
		name     string
		answers  []func(http.ResponseWriter, *http.Request)
		want     lofn.CallState
		status   int
		attempts int
		reason   string
		result   string // "" for none
	}{
		{"success", []func(http.ResponseWriter, *http.Request){status(200)}, lofn.CallSucceeded, 200, 1, "", "body of 200"},
		{"a redirect", []func(http.ResponseWriter, *http.Request){status(302)}, lofn.CallSucceeded, 302, 1, "", "body of 302"},
		{"nothing written", []func(http.ResponseWriter, *http.Request){func(http.ResponseWriter, *http.Request) {}}, lofn.CallSucceeded, 200, 1, "", "empty"},
		{"an error that is not retried", []func(http.ResponseWriter, *http.Request){status(502)}, lofn.CallFailed, 502, 1, "answered with status 502", "body of 502"},
		{"an error that goes away", []func(http.ResponseWriter, *http.Request){status(500), status(201)}, lofn.CallSucceeded, 201, 2, "", "body of 201"},
		{"an error that stays", []func(http.ResponseWriter, *http.Request){status(500)}, lofn.CallDead, 500, 3, "status 500 (attempt 3 of 3)", "body of 500"},
		{"an error of the platform", []func(http.ResponseWriter, *http.Request){platform(504)}, lofn.CallDead, 504, 3, "body of 504 (attempt 3 of 3)", "body of 504"},
		{"not deployed", []func(http.ResponseWriter, *http.Request){platform(404)}, lofn.CallDead, 404, 1, "not deployed any more", "body of 404"},
		{"not found by the function", []func(http.ResponseWriter, *http.Request){status(404)}, lofn.CallFailed, 404, 1, "status 404", "body of 404"},
		{"broken off", []func(http.ResponseWriter, *http.Request){broken}, lofn.CallDead, 502, 3, "began with status 200, and 11 bytes of it came (attempt 3 of 3)", ""},
		{"broken off once", []func(http.ResponseWriter, *http.Request){broken, status(200)}, lofn.CallSucceeded, 200, 2, "", "body of 200"},
		{"a panic", []func(http.ResponseWriter, *http.Request){func(http.ResponseWriter, *http.Request) { panic("oh") }}, lofn.CallDead, 500, 3, "the platform panicked", ""},
		{"informational answers", []func(http.ResponseWriter, *http.Request){func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			status(200)(w, r)
		}}, lofn.CallSucceeded, 200, 1, "", "body of 200"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, queue.Config{Gateway: answers(test.answers...)})
				b.declare(echo, 1, spec)
				id := b.submit(lofn.Call{}, "")
				s := b.outcome(id)
				if s.State != test.want || s.Status != test.status || s.Attempts != test.attempts || !strings.Contains(s.Reason, test.reason) || (test.reason == "") != (s.Reason == "") {
					t.Errorf("the call is %s with status %d after %d attempts: %q", s.State, s.Status, s.Attempts, s.Reason)
				}
				if test.result == "" {
					if _, err := b.queue.Result(t.Context(), id); lofn.CodeOf(err) != lofn.NotFound {
						t.Errorf("its result: %v, want none", err)
					}
				} else if _, text := b.result(id); text != test.result && test.result != "empty" {
					t.Errorf("its result is %q, want %q", text, test.result)
				}
				if len(b.statuses) != test.attempts || b.statuses[len(b.statuses)-1] != test.status {
					t.Errorf("counted were %v", b.statuses)
				}
			})
		})
	}
}

func TestWaitsBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		var tries []string
		b := start(t, queue.Config{Gateway: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			at, tries = append(at, time.Now()), append(tries, r.Header.Get(lofn.HeaderRetry)+"/"+r.Header.Get(lofn.HeaderRetryMax))
			switch len(at) {
			case 5:
				status(503, "Retry-After", "45")(w, r)
			case 6:
				status(503, "Retry-After", time.Now().Add(90*time.Second).UTC().Format(http.TimeFormat))(w, r)
			case 7:
				status(503, "Retry-After", "1")(w, r)
			case 8:
				status(503, "Retry-After", "9000000")(w, r)
			case 9:
				status(500, "Retry-After", "3000")(w, r)
			default:
				status(500)(w, r)
			}
		})})
		b.declare(echo, 1, annotated(lofn.AnnotationRetryMinWait, "10s", lofn.AnnotationRetryMaxWait, "30s"))
		b.outcome(b.submit(lofn.Call{}, ""))
		// From and to what the wait may be, in seconds.
		bounds := [][2]float64{{5, 10}, {10, 20}, {15, 30}, {15, 30}, {45, 45}, {89, 90}, {10, 10}, {3600, 3600}, {15, 30}}
		if len(at) != 10 || strings.Join(tries, " ") != "1/10 2/10 3/10 4/10 5/10 6/10 7/10 8/10 9/10 10/10" {
			t.Fatalf("attempts were %v", tries)
		}
		for i, b := range bounds {
			if waited := at[i+1].Sub(at[i]).Seconds(); waited < b[0] || waited > b[1]+.001 {
				t.Errorf("the wait after attempt %d was %v s, want %v to %v", i+1, waited, b[0], b[1])
			}
		}
	})
}

func TestARefusalIsNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := status(429, "Retry-After", "20")
		b := start(t, queue.Config{Gateway: answers(busy, busy, status(429), status(200))})
		b.declare(echo, 1, annotated(lofn.AnnotationRetryAttempts, "1"))
		id, began := b.submit(lofn.Call{}, ""), time.Now()
		s := b.await(id, "refused", func(s lofn.CallStatus) bool { return s.RefusedSince != nil && s.State == lofn.CallQueued })
		if s.Attempts != 0 || s.Status != 429 || s.NextAt.Sub(time.Now()) < 19*time.Second {
			t.Errorf("a refused call is %+v", s)
		}
		s = b.outcome(id)
		if s.State != lofn.CallSucceeded || s.Attempts != 1 || s.RefusedSince != nil {
			t.Errorf("in the end it is %+v", s)
		}
		if took := time.Since(began); took < 60*time.Second || took > 81*time.Second {
			t.Errorf("it took %v, want 40 s and the wait since it was first refused", took)
		}
	})
}

// TestAFunctionThatCannotStart has its calls wait: none of them was at it.
func TestAFunctionThatCannotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := status(503, lofn.HeaderInternal, "gateway")
		b := start(t, queue.Config{Gateway: answers(down, down, down, status(200))})
		b.declare(echo, 1, annotated(lofn.AnnotationRetryAttempts, "1"))
		if s := b.outcome(b.submit(lofn.Call{}, "")); s.State != lofn.CallSucceeded || s.Attempts != 1 {
			t.Errorf("it came to %+v", s)
		}
	})
}

func TestACallThatIsRefusedForADayDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, queue.Config{Gateway: answers(status(429))})
		b.declare(echo, 1, lofn.Spec{})
		id, began := b.submit(lofn.Call{}, ""), time.Now()
		s := b.outcome(id)
		if took := time.Since(began); s.State != lofn.CallDead || took < 24*time.Hour || took > 24*time.Hour+3*time.Minute || !strings.Contains(s.Reason, "24h") {
			t.Errorf("after %v the call is %+v", took, s)
		}
		if n := len(b.statuses); n < 24*30 || n > 24*80 {
			t.Errorf("it was offered %d times", n)
		}
	})
}

// crampedDelivery has a number of spools that find no room for the answer.
type crampedDelivery struct {
	lofn.Delivery
	cramped *int
}

func (d crampedDelivery) Spool() lofn.Spool {
	if *d.cramped--; *d.cramped >= 0 {
		return crampedSpool{d.Delivery.Spool()}
	}
	return d.Delivery.Spool()
}

type crampedSpool struct{ lofn.Spool }

func (crampedSpool) Write([]byte) (int, error) {
	return 0, lofn.Errorf(lofn.Full, "the disk is full")
}

func TestAFullDiskUsesUpNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, queue.Config{Gateway: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.WriteString(w, "the answer"); err != nil {
				panic(http.ErrAbortHandler)
			}
		})})
		cramped := 20
		b.wrap = func(d lofn.Delivery) lofn.Delivery { return crampedDelivery{d, &cramped} }
		b.declare(echo, 1, lofn.Spec{})
		id := b.submit(lofn.Call{}, "")
		s := b.await(id, "refused", func(s lofn.CallStatus) bool { return s.Status != 0 })
		if s.Status != http.StatusInsufficientStorage || s.State != lofn.CallQueued || s.Attempts != 0 || !strings.Contains(s.Reason, "cannot be kept: the disk is full") {
			t.Errorf("the call is %+v", s)
		}
		if s := b.outcome(id); s.State != lofn.CallSucceeded || s.Attempts != 1 {
			t.Errorf("in the end it is %+v", s)
		}
	})
}

func TestABodyThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, queue.Config{Gateway: answers(status(200))})
		b.wrap = func(d lofn.Delivery) lofn.Delivery { return bodiless{d} }
		b.declare(echo, 1, annotated(lofn.AnnotationRetryAttempts, "2"))
		if s := b.outcome(b.submit(lofn.Call{}, "body")); s.State != lofn.CallDead || s.Attempts != 2 || !strings.Contains(s.Reason, "the body of the call cannot be read: lost") {
			t.Errorf("the call is %+v", s)
		}
	})
}

type bodiless struct{ lofn.Delivery }

func (bodiless) Body(context.Context) (io.ReadCloser, error) {
	return nil, lofn.Errorf(lofn.NotFound, "lost")
}
