package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"lofn"
)

// annotate deploys echo with an annotation.
func (p *platform) annotate(name, value string) {
	p.Helper()
	fn := lofn.Function{Ref: echo, Replicas: 1, Spec: lofn.Spec{Image: "echo", Annotations: map[string]string{name: value}}}
	if err := fn.Validate(); err != nil {
		p.Fatal(err)
	}
	p.redeploy(fn)
}

func TestABodyOverTheFunctionsLimit(t *testing.T) { eachDoor(t, testABodyOverTheFunctionsLimit) }

func testABodyOverTheFunctionsLimit(t *testing.T, d door) {
	var whole, cut atomic.Int32
	p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			cut.Add(1)
			return
		}
		if r.URL.Path != "/ready" {
			whole.Add(1)
		}
		fmt.Fprint(w, n)
	}))
	const limit = 64 << 10
	p.annotate(lofn.AnnotationMaxBody, "64Ki")
	for _, tc := range []struct {
		size      int64
		announced bool
		status    int
	}{
		{limit, true, 200}, {limit, false, 200}, {0, false, 200}, {limit + 1, true, 413}, {limit + 1, false, 413}, {4 << 20, true, 413}, {64 << 20, false, 413},
	} {
		body := io.LimitReader(zeros{}, tc.size)
		req := p.request("POST", "/function/echo", body)
		if tc.announced {
			req.ContentLength = tc.size
		}
		before := whole.Load()
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			// The answer may be overtaken by the end of a connection that the
			// client still writes to; the call must have been broken off.
			if tc.status == 200 || tc.size < 1<<20 {
				t.Errorf("%d bytes, announced %v: %v", tc.size, tc.announced, err)
			}
			continue
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tc.status {
			t.Errorf("%d bytes, announced %v: got %d %s, want %d", tc.size, tc.announced, resp.StatusCode, text, tc.status)
		}
		if tc.status == 413 && (!strings.Contains(string(text), "function echo.openfaas-fn takes bodies of up to 65536 bytes") || whole.Load() != before) {
			t.Errorf("%d bytes: the function saw it whole, or %q", tc.size, text)
		}
	}
	p.eventually("the calls that went over the limit are over", func() bool { return cut.Load() >= 1 })
	if inFlight, _ := p.pool.Load(echo); inFlight != 0 {
		p.eventually("all leases are given back", func() bool {
			inFlight, _ := p.pool.Load(echo)
			return inFlight == 0
		})
	}
}

// TestAHeadOverTheLimit is about request line and headers together.
func TestAHeadOverTheLimit(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		p := start(t, d, http.HandlerFunc(mirrorRequest))
		for size, want := range map[int]int{1 << 19: 200, 1<<20 + 1<<15: 431} {
			conn, r := p.dial()
			fmt.Fprintf(conn, "GET /function/echo HTTP/1.1\r\nHost: x\r\nA: %s\r\n\r\n", strings.Repeat("a", size))
			if status, _ := p.read(r); status != want {
				t.Errorf("a head of %d bytes: got %d, want %d", size, status, want)
			}
		}
	})
}

// hidden is a request in the rest of a body.
const hidden = "GET /function/echo/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

// TestTheRestOfABodyIsNoRequest has a function answer before it has read its
// request, and be refused one: what is left must not be taken for a request.
func TestTheRestOfABodyIsNoRequest(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		var hits atomic.Int32
		p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/smuggled" {
				hits.Add(1)
			}
			control := http.NewResponseController(w)
			_ = control.EnableFullDuplex()
			w.Header().Set("Content-Length", "5")
			fmt.Fprint(w, "early")
			_ = control.Flush()
			_, _ = io.Copy(io.Discard, r.Body)
		}))
		rest := strings.Repeat(hidden, 20_000) // more than net/http discards
		part := strings.Repeat("x", 100_000)
		for name, tc := range map[string]struct{ path, first, later string }{
			"large, unread":         {"/function/echo/early", part + rest, ""},
			"large, refused":        {"/function/nobody", part + rest, ""},
			"comes after an answer": {"/function/echo/early", part, hidden},
		} {
			conn, r := p.dial()
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", tc.path, len(tc.first)+len(tc.later))
				_, _ = io.WriteString(conn, tc.first)
			}()
			first, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Logf("%s: %v", name, err) // reset
				conn.Close()
				<-done
				continue
			}
			_, _ = io.Copy(io.Discard, first.Body)
			_, _ = io.WriteString(conn, tc.later)
			if more, err := http.ReadResponse(bufio.NewReader(r), nil); err == nil {
				t.Errorf("%s: a second answer, %s", name, more.Status)
			}
			conn.Close()
			<-done
		}
		if hits.Load() > 0 {
			t.Errorf("%d requests were smuggled", hits.Load())
		}
	})
}

// TestARefusalKeepsTheConnection, where what is left of the body is little.
func TestARefusalKeepsTheConnection(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		goOn, began := make(chan struct{}), make(chan struct{})
		p := start(t, d, slowly(goOn, began))
		defer close(goOn)
		p.deploy(lofn.Function{Ref: echo, Replicas: 1}, "1", "0")
		go func() {
			req := p.request("GET", "/function/echo/slow", nil)
			if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
				resp.Body.Close()
			}
		}()
		<-began
		conn, r := p.dial()
		for range 5 {
			fmt.Fprint(conn, "POST /function/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
			if status, _ := p.read(r); status != http.StatusTooManyRequests {
				t.Errorf("got %d, want 429", status)
			}
		}
	})
}
