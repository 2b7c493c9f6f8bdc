package watchdog_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lofn/internal/watchdog"
)

// doors serves a watchdog in mode http by both ways, and returns the address.
func doors(t *testing.T, env ...string) (string, *watchdog.Server, *watchdog.Watchdog) {
	t.Helper()
	config, err := watchdog.ConfigFromEnv(append([]string{"mode=http", "fprocess=x"}, env...))
	if err != nil {
		t.Fatal(err)
	}
	w, err := watchdog.New(config, watchdog.Options{Impatient: true})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := watchdog.NewServer(w, &http.Server{Handler: w, ReadHeaderTimeout: config.ReadTimeout})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return l.Addr().String(), s, w
}

// rawUpstream is a function that answers each request with bytes of its own.
// The answer "" closes the connection.
func rawUpstream(t *testing.T, answer func(r *http.Request, body string) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	t.Cleanup(func() { l.Close(); conns.Wait() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				requests := bufio.NewReader(conn)
				for {
					r, err := http.ReadRequest(requests)
					if err != nil {
						return
					}
					body, _ := io.ReadAll(r.Body)
					text := answer(r, string(body))
					if _, err := io.WriteString(conn, text); err != nil || text == "" || strings.Contains(text, "\r\nConnection: close\r\n") {
						return
					}
				}
			})
		}
	}()
	return "upstream_url=http://" + l.Addr().String()
}

func dial(t *testing.T, address string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn, bufio.NewReader(conn)
}

func read(t *testing.T, r *bufio.Reader, method string) (status int, body string) {
	t.Helper()
	response, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(response.Body)
	if err != nil {
		body = "broken: "
	}
	return response.StatusCode, body + string(b)
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, body)
}

func TestPipelining(t *testing.T) {
	t.Parallel()
	address, _, _ := doors(t, upstream(t, echo))
	conn, r := dial(t, address)
	var all strings.Builder
	for i := range 50 {
		fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", i)
	}
	all.WriteString("POST /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\nGET /last HTTP/1.1\r\nHost: x\r\n\r\n")
	go func() { _, _ = io.WriteString(conn, all.String()) }()
	for i := range 50 {
		if status, body := read(t, r, "POST"); status != 200 || body != fmt.Sprintf("POST /%d body", i) {
			t.Fatalf("%d: got %d %q", i, status, body)
		}
	}
	if _, body := read(t, r, "POST"); body != "POST /chunked body" {
		t.Errorf("got %q", body)
	}
	if _, body := read(t, r, "GET"); body != "GET /last " {
		t.Errorf("got %q", body)
	}
}

// The next request may come, byte by byte, while the answer to the one before
// is awaited.
func TestRequestsInPieces(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan struct{}), make(chan struct{})
	address, _, _ := doors(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(began)
			<-goOn
		}
		echo(w, r)
	}))
	conn, r := dial(t, address)
	pieces := func(text string) {
		for _, b := range []byte(text) {
			_, _ = conn.Write([]byte{b})
		}
	}
	pieces("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
	<-began
	pieces("POST /next HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nother")
	close(goOn)
	for _, want := range []string{"POST /slow body", "POST /next other"} {
		if status, body := read(t, r, "POST"); status != 200 || body != want {
			t.Errorf("got %d %q, want %q", status, body, want)
		}
	}
}

// A function may close a connection just when the next call is on its way.
func TestAConnectionThatWasIdle(t *testing.T) {
	t.Parallel()
	var refuse atomic.Bool
	var calls atomic.Int32
	address, _, _ := doors(t, rawUpstream(t, func(r *http.Request, body string) string {
		calls.Add(1)
		if refuse.CompareAndSwap(true, false) {
			return ""
		}
		return "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
	}))
	for _, c := range []struct {
		method string
		status int
		calls  int32
	}{{"GET", 200, 3}, {"PUT", 200, 3}, {"POST", 500, 2}} {
		calls.Store(0)
		do(t, request(t, "GET", "http://"+address, ""))
		refuse.Store(true)
		got := do(t, request(t, c.method, "http://"+address, ""))
		if got.StatusCode != c.status || calls.Load() != c.calls {
			t.Errorf("%s: %d after %d calls of the function, want %d after %d", c.method, got.StatusCode, calls.Load(), c.status, c.calls)
		}
	}
}

// TestOddAnswers has the function say things that are not plain, and compares
// the two ways.
func TestOddAnswers(t *testing.T) {
	t.Parallel()
	const typed = "Content-Type: text/plain\r\n"
	for _, c := range []struct {
		name, method, raw string
		want              string
	}{
		{"plain", "GET", "HTTP/1.1 200 OK\r\n" + typed + "Content-Length: 2\r\n\r\nok", "200 ok"},
		{"no reason", "GET", "HTTP/1.1 299\r\n" + typed + "Content-Length: 2\r\n\r\nok", "299 ok"},
		{"chunks", "GET", "HTTP/1.1 200 OK\r\n" + typed + "Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", "200 ok"},
		{"no length", "GET", "HTTP/1.1 200 OK\r\n" + typed + "Connection: close\r\n\r\nok", "200 ok"},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nok", "200 ok"},
		{"no content", "GET", "HTTP/1.1 204 No Content\r\n\r\n", "204 "},
		{"not modified", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "304 "},
		{"head", "HEAD", "HTTP/1.1 200 OK\r\n" + typed + "Content-Length: 5\r\n\r\n", "200 "},
		{"head without length", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", "200 "},
		{"early hints", "GET", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\n" + typed + "Content-Length: 2\r\n\r\nok", "200 ok"},
		{"continue", "POST", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n" + typed + "Content-Length: 2\r\n\r\nok", "200 ok"},
		{"more than announced", "GET", "HTTP/1.1 200 OK\r\n" + typed + "Content-Length: 2\r\n\r\nok and more", "200 ok"},
		{"a length that Connection names", "GET", "HTTP/1.1 200 OK\r\n" + typed + "Content-Length: 2\r\nConnection: Content-Length\r\n\r\nok", "200 ok"},
		{"less than announced", "GET", "HTTP/1.1 200 OK\r\n" + typed + "Content-Length: 5\r\nConnection: close\r\n\r\nok", "200 broken: ok"},
		{"broken chunk", "GET", "HTTP/1.1 200 OK\r\n" + typed + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\nzz", "200 broken: ok"},
		{"not HTTP", "GET", "SSH-2.0-OpenSSH\r\n\r\n", "500 "},
		{"half a head", "POST", "HTTP/1.1 200 OK\r\nConnection: close\r\n", "500 "},
		{"length twice", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "500 "},
		{"unasked upgrade", "GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", "500 "},
		{"large head", "GET", "HTTP/1.1 200 OK\r\n" + typed + "X-Large: " + strings.Repeat("x", 30_000) + "\r\nContent-Length: 2\r\n\r\nok", "200 ok"},
		{"nothing", "POST", "", "500 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			address, _, _ := doors(t, rawUpstream(t, func(*http.Request, string) string { return c.raw }))
			for _, header := range []string{"", "Proxy-Authorization: x\r\n"} {
				conn, r := dial(t, address)
				fmt.Fprintf(conn, "%s / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n%s\r\n", c.method, header)
				status, body := read(t, r, c.method)
				for status < 200 {
					status, body = read(t, r, c.method)
				}
				if got := fmt.Sprintf("%d %s", status, body); got != c.want {
					t.Errorf("with %q: got %q, want %q", header, got, c.want)
				}
			}
		})
	}
}

// TestHostileRequests sends what different readers read differently. Each is
// refused, or reaches the function as one request that means one thing.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	var seen sync.Map
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Method+" "+r.RequestURI, true)
		echo(w, r)
	})
	address, _, _ := doors(t, url)
	for name, raw := range map[string]string{
		"length and chunks":   "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nX: y",
		"two lengths":         "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 30\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
		"chunks by two names": "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
		"odd encoding":        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
		"space before colon":  "POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
		"signed length":       "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
		"huge length":         "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
		"NUL in a header":     "GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
		"two hosts":           "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
		"no host":             "GET / HTTP/1.1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
		"bad chunk size":      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
		"space in the target": "GET /a b HTTP/1.1\r\nHost: x\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		conn, r := dial(t, address)
		fmt.Fprint(conn, raw)
		_ = conn.(*net.TCPConn).CloseWrite()
		status, _ := read(t, r, "POST")
		if status != 400 && status != 500 && status != 501 && !(name == "length and chunks" && status == 200) {
			t.Errorf("%s: got %d", name, status)
		}
		if rest, _ := io.ReadAll(r); strings.Contains(string(rest), "smuggled") {
			t.Errorf("%s: more than one answer: %q", name, rest)
		}
	}
	if _, smuggled := seen.Load("GET /smuggled"); smuggled {
		t.Error("a request was smuggled")
	}
}

// A client that stops in the middle of its body does not keep the call.
func TestClientsThatStall(t *testing.T) {
	t.Parallel()
	address, _, w := doors(t, "read_timeout=50ms", upstream(t, echo))
	for name, raw := range map[string]string{
		"head":         "POST / HTTP/1.1\r\nHost:",
		"body":         "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nbo",
		"large body":   "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\nbo",
		"chunked body": "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo",
	} {
		conn, r := dial(t, address)
		fmt.Fprint(conn, raw)
		if rest, err := io.ReadAll(r); err != nil || strings.HasPrefix(string(rest), "HTTP/1.1 200") {
			t.Errorf("%s: %q, %v", name, rest, err)
		}
	}
	eventually(t, "no call is left", func() bool { return w.Inflight() == 0 })
}

func TestServerShutdown(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan struct{}), make(chan struct{})
	address, s, _ := doors(t, upstream(t, func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-goOn
		echo(w, r)
	}))
	_, idle := dial(t, address)
	busy, r := dial(t, address)
	fmt.Fprint(busy, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
	<-began
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(context.Background()) }()
	if _, err := idle.ReadByte(); err != io.EOF {
		t.Errorf("an idle connection: %v", err)
	}
	close(goOn)
	response, err := http.ReadResponse(r, nil)
	if err != nil || response.StatusCode != 200 || !response.Close {
		t.Errorf("the call at work: %v %v", response, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// Calls at work when the time is over are answered with 503.
func TestServerShutdownInTime(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"", "Proxy-Authorization: x\r\n"} {
		began := make(chan struct{})
		address, s, w := doors(t, upstream(t, func(_ http.ResponseWriter, r *http.Request) { close(began); <-r.Context().Done() }))
		conn, r := dial(t, address)
		fmt.Fprintf(conn, "GET /a HTTP/1.1\r\nHost: x\r\n%s\r\n", header)
		<-began
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) && err != nil {
			t.Errorf("Shutdown of the server: %v", err)
		}
		if err := w.Shutdown(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown of the watchdog: %v", err)
		}
		if status, _ := read(t, r, "GET"); status != 503 {
			t.Errorf("%q: got %d", header, status)
		}
	}
}

// What probes are not the watchdog's own goes to the function.
func TestPathsOfTheWatchdog(t *testing.T) {
	t.Parallel()
	server, w, _ := serve(t, watchdog.Options{}, "mode=http", "fprocess=x", "ready_path=/mine?a=b", upstream(t, echo))
	healthy := atomic.Bool{}
	probes := httptest.NewServer(&watchdog.Probes{Watchdog: w, Healthy: healthy.Load})
	defer probes.Close()
	for _, up := range []bool{false, true} {
		healthy.Store(up)
		want := map[string]string{"/_/health": "503 ", "/_/ready": "503 ", "/_/other": "200 GET /_/other "}
		if up {
			want["/_/health"], want["/_/ready"] = "200 OK", "200 GET /mine?a=b "
		}
		for path, text := range want {
			got := do(t, request(t, "GET", probes.URL+path, ""))
			if line := fmt.Sprintf("%d %s", got.StatusCode, got.body); line != text {
				t.Errorf("%s: got %q, want %q", path, line, text)
			}
		}
	}
	_ = server
}
