package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func (p *platform) dial() (net.Conn, *bufio.Reader) {
	p.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn, bufio.NewReader(conn)
}

func (p *platform) read(r *bufio.Reader) (status int, body string) {
	p.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		p.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// slowly is a function that waits, for "/slow", until it is told to go on.
func slowly(goOn <-chan struct{}, began chan<- struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			began <- struct{}{}
			<-goOn
		}
		fmt.Fprint(w, r.URL.Path)
	})
}

// TestTheNextRequestMayComeEarly sends a request while the answer to the one
// before is still awaited, piece by piece: the byte that the look for the
// client takes off the connection must not be lost.
func TestTheNextRequestMayComeEarly(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		goOn, began := make(chan struct{}), make(chan struct{})
		p := start(t, d, slowly(goOn, began))
		conn, r := p.dial()
		fmt.Fprint(conn, "GET /function/echo/slow HTTP/1.1\r\nHost: x\r\n\r\n")
		<-began
		next := "GET /function/echo/next HTTP/1.1\r\nHost: x\r\n\r\n"
		for _, b := range []byte(next) {
			fmt.Fprint(conn, string(b))
		}
		close(goOn)
		for _, want := range []string{"/slow", "/next"} {
			if status, body := p.read(r); status != 200 || body != want {
				t.Errorf("got %d %q, want %q", status, body, want)
			}
		}
	})
}

// TestAHeadInPieces sends a head byte by byte.
func TestAHeadInPieces(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		p := start(t, d, http.HandlerFunc(mirrorRequest))
		conn, r := p.dial()
		for _, b := range []byte("POST /function/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody") {
			fmt.Fprint(conn, string(b))
		}
		if status, body := p.read(r); status != 200 || !strings.Contains(body, `length=4 body="body"`) {
			t.Errorf("got %d %q", status, body)
		}
	})
}

// TestAFunctionThatHangsUp closes connections in every way that a function
// can; the next call must not suffer.
func TestAFunctionThatHangsUp(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// What is left unread would turn the end into a reset.
			_, _ = io.Copy(io.Discard, r.Body)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			switch r.URL.Path {
			case "/silent":
			case "/half-head":
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Le")
			case "/half-body":
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
			case "/half-chunks":
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
			case "/garbage":
				fmt.Fprint(conn, "\x00\x01garbage\r\n\r\n")
			case "/too-much":
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, and an answer to nobody")
			case "/closes-unsaid":
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			case "/until-close":
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\nok")
			case "/switches":
				fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
			}
		}))
		for path, want := range map[string]struct {
			status int
			whole  bool
		}{
			"/silent": {502, true}, "/half-head": {502, true}, "/garbage": {502, true}, "/switches": {502, true},
			"/half-body": {200, false}, "/half-chunks": {200, false},
			"/too-much": {200, true}, "/closes-unsaid": {200, true}, "/until-close": {200, true},
		} {
			for range 3 {
				// A call that may be repeated: between two calls nobody can know
				// that a connection is about to be closed.
				resp, err := http.DefaultTransport.RoundTrip(p.request("GET", "/function/echo"+path, nil))
				if err != nil {
					if want.whole {
						t.Errorf("%s: %v", path, err)
					}
					continue
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != want.status || (err == nil) != want.whole {
					t.Errorf("%s: got %d %q (%v), want %d, whole: %v", path, resp.StatusCode, body, err, want.status, want.whole)
				}
				if err == nil && resp.StatusCode == 200 && string(body) != "ok" {
					t.Errorf("%s: got %q", path, body)
				}
			}
		}
	})
}

// TestAnEarlyAnswerToALargeBody has a function answer, with more than sockets
// hold, before it reads what it is sent.
func TestAnEarlyAnswerToALargeBody(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		const size = 2 << 20
		p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.CopyN(w, zeros{}, size)
			_, _ = io.Copy(io.Discard, r.Body)
		}))
		for _, n := range []int64{60_000, 1 << 20} {
			resp, body := p.do(p.request("POST", "/function/echo", io.LimitReader(zeros{}, n)))
			if resp.StatusCode != 200 || len(body) != size {
				t.Errorf("a body of %d: got %d with %d bytes, want %d", n, resp.StatusCode, len(body), size)
			}
		}
	})
}

// TestASlowBodyOfKnownLength has a function take its time between the pieces of
// an answer whose length it has announced.
func TestASlowBodyOfKnownLength(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ready" {
				return
			}
			w.Header().Set("Content-Length", "6")
			for _, piece := range []string{"ab", "cd", "ef"} {
				fmt.Fprint(w, piece)
				_ = http.NewResponseController(w).Flush()
				<-time.After(20 * time.Millisecond) // more than the lane's patience
			}
		}))
		if resp, body := p.do(p.request("GET", "/function/echo/slow", nil)); resp.StatusCode != 200 || body != "abcdef" {
			t.Errorf("got %d %q", resp.StatusCode, body)
		}
	})
}

// TestSlowClientsDoNotStopOthers holds many connections that send their head
// one byte at a time, and never the end of it.
func TestSlowClientsDoNotStopOthers(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		p := start(t, d, http.HandlerFunc(mirrorRequest))
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		for range 300 {
			conn, _ := p.dial()
			fmt.Fprint(conn, "GET /function/echo HTTP/1.1\r\nHost: x\r\nA: ")
			context.AfterFunc(ctx, func() { conn.Close() })
		}
		for range 20 {
			if resp, body := p.do(p.request("GET", "/function/echo/fine", nil)); resp.StatusCode != 200 {
				t.Fatalf("got %d %s", resp.StatusCode, body)
			}
		}
	})
}

// TestShutdownFinishesCallsAndClosesIdleConnections is the lane's side of a
// stop of the platform.
func TestShutdownFinishesCallsAndClosesIdleConnections(t *testing.T) {
	goOn, began := make(chan struct{}), make(chan struct{})
	p := start(t, fast, slowly(goOn, began))
	_, idle := p.dial()
	conn, r := p.dial()
	fmt.Fprint(conn, "GET /function/echo/slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-began
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		p.closeDoor()
	}()
	if _, err := idle.ReadByte(); err != io.EOF {
		t.Errorf("an idle connection: %v, want it closed", err)
	}
	close(goOn)
	if status, body := p.read(r); status != 200 || body != "/slow" {
		t.Errorf("the call under way got %d %q", status, body)
	}
	<-closed
}

// TestAHeadWithoutEnd has a function answer with a header that never ends, and
// with interim answers that never end.
func TestAHeadWithoutEnd(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ready" {
				return
			}
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			endless := "HTTP/1.1 103 Early Hints\r\n\r\n"
			if r.URL.Path == "/header" {
				endless = strings.Repeat("a", 1<<16)
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nX-A: ")
			}
			for err == nil {
				_, err = io.WriteString(conn, endless)
			}
		}))
		for _, path := range []string{"/header", "/interim"} {
			resp, err := http.DefaultTransport.RoundTrip(p.request("GET", "/function/echo"+path, nil))
			if err != nil {
				// net/http passes interim answers on until the client has had
				// enough, and keeps none.
				if path != "/interim" {
					t.Errorf("%s: %v", path, err)
				}
				continue
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusBadGateway {
				t.Errorf("%s: got %d, want 502", path, resp.StatusCode)
			}
		}
	})
}

// TestARemovedFunctionFinishesItsCalls removes a function under a call.
func TestARemovedFunctionFinishesItsCalls(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		goOn, began := make(chan struct{}), make(chan struct{})
		p := start(t, d, slowly(goOn, began))
		conn, r := p.dial()
		fmt.Fprint(conn, "GET /function/echo/slow HTTP/1.1\r\nHost: x\r\n\r\n")
		<-began
		record, err := p.functions.Get(t.Context(), echo)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.functions.Delete(t.Context(), echo, record.Revision); err != nil {
			t.Fatal(err)
		}
		p.eventually("new calls find no function", func() bool {
			resp, _ := p.do(p.request("GET", "/function/echo/x", nil))
			return resp.StatusCode == http.StatusNotFound
		})
		close(goOn)
		if status, body := p.read(r); status != 200 || body != "/slow" {
			t.Errorf("the call under way got %d %q", status, body)
		}
		p.eventually("no replica is left", func() bool { return len(p.provider.Running()) == 0 })
	})
}
