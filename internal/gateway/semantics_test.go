package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestTrailersPassBothWays: those that were announced, and none that a server
// might act on.
func TestTrailersPassBothWays(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
			_ = http.NewResponseController(w).Flush()
			w.Header().Set(http.TrailerPrefix+"X-Late", fmt.Sprint(r.Trailer))
		}))
		conn, r := p.dial()
		fmt.Fprint(conn, "POST /function/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Authorization\r\n\r\n"+
			"4\r\nbody\r\n0\r\nX-Sum: 7\r\nAuthorization: x\r\nX-Unannounced: y\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "body" || resp.Trailer.Get("X-Late") != "map[X-Sum:[7]]" {
			t.Errorf("got %q (%v) with trailers %v", body, err, resp.Trailer)
		}
	})
}

// TestTheFunctionDecidesWhetherItWantsTheBody: a client that expects to be asked
// for its body is asked by the function.
func TestTheFunctionDecidesWhetherItWantsTheBody(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		function := raw(func(conn net.Conn) {
			r, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				return
			}
			if r.URL.Path == "/refuse" {
				fmt.Fprint(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
				n, _ := io.Copy(io.Discard, r.Body)
				if n > 0 {
					t.Errorf("the function was sent %d bytes that it had refused", n)
				}
				return
			}
			fmt.Fprint(conn, "HTTP/1.1 100 Continue\r\n\r\n")
			body, err := io.ReadAll(r.Body)
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			if err != nil {
				t.Error(err)
			}
		})
		p := besides(t, d, nil, function)
		const head = "POST /function/echo/%s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
		conn, r := p.dial()
		fmt.Fprintf(conn, head, "refuse")
		if status, _ := p.read(r); status != http.StatusForbidden {
			t.Errorf("got %d, want the function's 403 and no 100 before it", status)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("after a body that was not sent the connection goes on: %v", err)
		}
		conn, r = p.dial()
		fmt.Fprintf(conn, head, "take")
		asked, err := http.ReadResponse(r, nil)
		if err != nil || asked.StatusCode != http.StatusContinue {
			t.Fatalf("got %v (%v), want 100", asked, err)
		}
		fmt.Fprint(conn, "body")
		if status, body := p.read(r); status != 200 || body != "body" {
			t.Errorf("got %d %q", status, body)
		}
	})
}

// TestWhatIsLeftUnreadIsNoRequest has a function answer before it reads, and
// never read: what the client has sent by then is not taken for a request.
func TestWhatIsLeftUnreadIsNoRequest(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		function := raw(func(conn net.Conn) {
			in := bufio.NewReader(conn)
			head, err := readStrictHead(in)
			if err != nil {
				return
			}
			if strings.Contains(head.target, "smuggled") {
				t.Errorf("smuggled: %v", head)
			}
			fmt.Fprint(conn, "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			drain(conn)
		})
		p := besides(t, d, nil, function)
		body := strings.Repeat(strings.ReplaceAll(smuggled, "{}", "/function/echo"), 8<<10)
		for what, head := range map[string]string{
			"a known length":                  fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)),
			"a length longer than what comes": fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)+(1<<20)),
			"chunks":                          fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", len(body)),
			"a broken chunk":                  "Transfer-Encoding: chunked\r\n\r\n2\r\nok\n",
		} {
			statuses, _ := p.attempt("POST /function/echo HTTP/1.1\r\nHost: x\r\n" + head + body)
			// The last request counts where all of the body had come.
			if n := len(statuses); n == 0 || n > 2 || n == 2 && what != "a known length" || statuses[0] != "413" && statuses[0] != "400" {
				t.Errorf("%s: answered with %q, want one 413, and the connection closed", what, statuses)
			}
		}
	})
}

// switching is a function that switches to a protocol which sends everything
// back, the first bytes together with its 101, and then says how much it was.
func switching(conn net.Conn) {
	in := bufio.NewReader(conn)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	if r.Header.Get("Upgrade") == "" {
		fmt.Fprint(conn, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
		return
	}
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nX-Proto: yes\r\n\r\n\x00first", r.Header.Get("Upgrade"))
	n, _ := io.Copy(conn, in)
	fmt.Fprintf(conn, "total %d", n)
}

const upgrade = "GET /function/echo HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: %s\r\n\r\n"

// TestASwitchedProtocolIsLeftAlone: bytes that come before and with the 101,
// binary ones, and each half closed by itself.
func TestASwitchedProtocolIsLeftAlone(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		p := besides(t, d, nil, raw(switching))
		for _, protocol := range []string{"websocket", "tunnel/2.0"} {
			conn, r := p.dial()
			// The first bytes do not wait for the answer.
			fmt.Fprintf(conn, upgrade+"early\x00\xff", protocol)
			resp, err := http.ReadResponse(r, &http.Request{Method: "GET"})
			if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != protocol || resp.Header.Get("X-Proto") != "yes" || resp.Header.Get("X-Call-Id") == "" {
				t.Fatalf("%s: got %v (%v)", protocol, resp, err)
			}
			all := make([]byte, 256)
			for i := range all {
				all[i] = byte(i)
			}
			if _, err := conn.Write(all); err != nil {
				t.Fatal(err)
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			want := "\x00firstearly\x00\xff" + string(all) + "total 263"
			if got, err := io.ReadAll(r); err != nil || string(got) != want {
				t.Errorf("%s: got %q (%v)\nwant %q", protocol, got, err, want)
			}
		}
		p.eventually("the calls are counted as what they were", func() bool {
			return strings.Contains(p.scrape(), `gateway_function_invocation_total{code="101",function_name="echo.openfaas-fn"} 2`)
		})
	})
}

// TestASwitchedProtocolHasItsOwnDeadline: stream_timeout, at which both
// connections are closed, and not exec_timeout.
func TestASwitchedProtocolHasItsOwnDeadline(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		ended := make(chan struct{})
		function := raw(func(conn net.Conn) {
			switching(conn)
			ended <- struct{}{}
		})
		p := besides(t, d, map[string]string{"exec_timeout": "1ms", "stream_timeout": "400ms"}, function)
		conn, r := p.dial()
		fmt.Fprintf(conn, upgrade, "websocket")
		resp, err := http.ReadResponse(r, &http.Request{Method: "GET"})
		if err != nil || resp.StatusCode != 101 {
			t.Fatalf("got %v (%v): exec_timeout is not for it", resp, err)
		}
		// Neither side ends it.
		if got, err := io.ReadAll(r); string(got) != "\x00first" {
			t.Errorf("got %q (%v)", got, err)
		}
		<-ended
	})
}

// TestAStreamOfEventsHasItsOwnDeadline: stream_timeout, and not exec_timeout.
func TestAStreamOfEventsHasItsOwnDeadline(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		p := besides(t, d, map[string]string{"exec_timeout": "1ms", "stream_timeout": "300ms"}, func(l net.Listener) {
			_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, "data: 1\n\n")
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}))
		})
		for _, accept := range []string{"text/event-stream", "application/json, Application/X-NDJSON;q=0.9"} {
			req := p.request("GET", "/function/echo", nil)
			req.Header.Set("Accept", accept)
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 || string(body) != "data: 1\n\n" || err == nil {
				t.Errorf("%s: got %d %q (%v), want an event, and the stream broken off later", accept, resp.StatusCode, body, err)
			}
		}
	})
}

// TestAClientThatLeavesEndsASwitchedProtocol without a word.
func TestAClientThatLeavesEndsASwitchedProtocol(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		ended := make(chan struct{})
		p := besides(t, d, nil, raw(func(conn net.Conn) {
			switching(conn)
			ended <- struct{}{}
		}))
		conn, r := p.dial()
		fmt.Fprintf(conn, upgrade, "websocket")
		if _, err := r.ReadString('\x00'); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		<-ended
	})
}

// TestTheDeadlineClosesTheFunctionsConnection, so that its work really stops:
// before an answer, and in the middle of one.
func TestTheDeadlineClosesTheFunctionsConnection(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		ended := make(chan struct{})
		p := besides(t, d, map[string]string{"exec_timeout": "300ms"}, raw(func(conn net.Conn) {
			r, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				return
			}
			if r.URL.Path == "/begins" {
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
			}
			drain(conn)
			ended <- struct{}{}
		}))
		for _, body := range []string{"", "body"} {
			resp, text := p.do(p.request("POST", "/function/echo/hangs", strings.NewReader(body)))
			if resp.StatusCode != http.StatusGatewayTimeout || !strings.Contains(text, "within 300ms, as its exec_timeout allows") {
				t.Errorf("got %d %q", resp.StatusCode, text)
			}
			<-ended
			resp, err := http.DefaultTransport.RoundTrip(p.request("POST", "/function/echo/begins", strings.NewReader(body)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(got) != "half" || err == nil {
				t.Errorf("half an answer: got %q (%v), want it to break off", got, err)
			}
			<-ended
		}
	})
}

// TestACompressedBodyIsLeftAlone, as is an encoding that nobody knows.
func TestACompressedBodyIsLeftAlone(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		sent := []byte("\x1f\x8b\x08\x00not really gzip\x00\xff")
		p := start(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("Content-Encoding", r.Header.Get("Content-Encoding"))
			w.Header().Set("X-Accepted", r.Header.Get("Accept-Encoding"))
			_, _ = w.Write(body)
		}))
		for _, size := range []int{1, 100_000} {
			req := p.request("POST", "/function/echo", bytes.NewReader(bytes.Repeat(sent, size)))
			req.Header.Set("Content-Encoding", "gzip")
			req.Header.Set("Accept-Encoding", "br;q=0.5, x")
			resp, body := p.do(req)
			if resp.Header.Get("Content-Encoding") != "gzip" || resp.Header.Get("X-Accepted") != "br;q=0.5, x" || body != strings.Repeat(string(sent), size) {
				t.Errorf("%d bytes came back with %v", len(body), resp.Header)
			}
		}
	})
}
