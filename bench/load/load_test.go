//go:build linux

package load_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lofn/bench/load"
)

func targetOf(t *testing.T, h http.HandlerFunc) load.Target {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return load.Target{Name: "test", Network: "tcp", Address: strings.TrimPrefix(server.URL, "http://"), Path: "/x?y=z"}
}

func TestClosedLoopCountsEveryCall(t *testing.T) {
	calls := make(chan string, 1000)
	of := targetOf(t, func(w http.ResponseWriter, r *http.Request) {
		calls <- r.URL.String()
		// Longer than one buffer, so that the answer comes in chunks.
		_, _ = w.Write(make([]byte, 10_000))
	})
	got, err := load.Run(t.Context(), of, load.Plan{Connections: 3})
	if err != nil {
		t.Fatal(err)
	}
	if got.Calls != 3 || got.Calls != len(calls) {
		t.Errorf("counted %d calls, the server %d, want one for each connection", got.Calls, len(calls))
	}
	if url := <-calls; url != "/x?y=z" {
		t.Errorf("called %s", url)
	}
	if got.P50 <= 0 || got.P50 > got.P99 || got.P99 > got.Elapsed {
		t.Errorf("latencies out of order: %+v", got)
	}
}

func TestClosedLoopGoesOnUntilItIsStopped(t *testing.T) {
	const enough = 500
	stop := make(chan struct{})
	var calls atomic.Int64
	of := targetOf(t, func(http.ResponseWriter, *http.Request) {
		if calls.Add(1) == enough {
			close(stop)
		}
	})
	got, err := load.Run(t.Context(), of, load.Plan{Connections: 4, For: time.Hour, Stop: stop})
	if err != nil {
		t.Fatal(err)
	}
	if got.Calls < enough || got.Calls != int(calls.Load()) || got.Elapsed >= time.Hour {
		t.Errorf("counted %d calls in %s, the server %d", got.Calls, got.Elapsed, calls.Load())
	}
}

func TestClosedLoopFailsWithTheAnswersStatus(t *testing.T) {
	of := targetOf(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not now", http.StatusServiceUnavailable)
	})
	_, err := load.Run(t.Context(), of, load.Plan{Connections: 2, For: time.Minute})
	if err == nil || !strings.Contains(err.Error(), "503 Service Unavailable: not now") {
		t.Errorf("error %v, want one with 503 and what the answer said", err)
	}
	if _, err := load.Run(t.Context(), load.Target{Name: "nobody", Network: "unix", Address: "/nonexistent"}, load.Plan{Connections: 1}); err == nil {
		t.Error("no error where nobody listens")
	}
}

// A body larger than the socket's buffers is sent in pieces, over Unix sockets
// as over TCP.
func TestLargeBodies(t *testing.T) {
	listener, err := net.Listen("unix", t.TempDir()+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(w, r.Body)
		if err != nil || n != 8<<20 || r.Method != "POST" {
			t.Errorf("%s of %d bytes: %v", r.Method, n, err)
		}
	}))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	defer server.Close()
	of := load.Target{Name: "test", Network: "unix", Address: listener.Addr().String(), Method: "POST", Path: "/", Body: make([]byte, 8<<20)}
	if got, err := load.Run(t.Context(), of, load.Plan{Connections: 2}); err != nil || got.Calls != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

// A paced call is due at its moment: one that has to wait for the call before
// it is as late as the caller would see it.
func TestPacedLatenciesCountFromTheMomentTheCallsWereDue(t *testing.T) {
	const stall = 300 * time.Millisecond
	var calls atomic.Int64
	of := targetOf(t, func(http.ResponseWriter, *http.Request) {
		if calls.Add(1) == 1 {
			<-time.After(stall)
		}
	})
	// Three calls are due before the first is answered, on one connection.
	got, err := load.Run(t.Context(), of, load.Plan{Connections: 1, Rate: 10, For: stall})
	if err != nil || got.Err() != nil {
		t.Fatal(err, got.Err())
	}
	if got.Calls != 3 || got.Unsent != 0 {
		t.Errorf("%d calls and %d unsent, want 3 calls", got.Calls, got.Unsent)
	}
	if got.P99 < stall {
		t.Errorf("the slowest call took %s, which is less than the server did", got.P99)
	}
}

func TestPacedCallsAreAllMade(t *testing.T) {
	var calls atomic.Int64
	of := targetOf(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	got, err := load.Run(t.Context(), of, load.Plan{Connections: 8, Rate: 1000, For: 200 * time.Millisecond})
	if err != nil || got.Err() != nil {
		t.Fatal(err, got.Err())
	}
	if got.Calls != 200 || calls.Load() != 200 || got.Unsent != 0 {
		t.Errorf("%d calls and %d unsent, the server saw %d, want 200", got.Calls, got.Unsent, calls.Load())
	}
}

// More than the connections can carry is not made up for, if nobody wants it.
func TestPacedCallsAreDropped(t *testing.T) {
	ended := make(chan struct{})
	of := targetOf(t, func(http.ResponseWriter, *http.Request) { <-ended })
	time.AfterFunc(200*time.Millisecond, func() { close(ended) })
	got, err := load.Run(t.Context(), of, load.Plan{Connections: 3, Rate: 1000, For: 100 * time.Millisecond, Drop: true})
	if err != nil || got.Err() != nil {
		t.Fatal(err, got.Err())
	}
	if got.Calls != 3 || got.InTime != 0 || got.Unsent != 97 {
		t.Errorf("%d calls, %d of them in time, and %d unsent, want one late for each connection and 97", got.Calls, got.InTime, got.Unsent)
	}
}

func TestPacedFailuresAreCountedByReason(t *testing.T) {
	var calls atomic.Int64
	of := targetOf(t, func(w http.ResponseWriter, _ *http.Request) {
		switch calls.Add(1) % 4 {
		case 0:
			w.WriteHeader(http.StatusBadGateway)
		case 1:
			panic(http.ErrAbortHandler)
		}
	})
	got, err := load.Run(t.Context(), of, load.Plan{Connections: 1, Rate: 400, For: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	n := int(calls.Load())
	if got.Total() != n || got.Calls != n/4+(n+1)/4 || got.Reasons["status 502 Bad Gateway"] != n/4 {
		t.Errorf("of %d calls: %+v", n, got)
	}
	if got.Err() == nil || len(got.Examples) != len(got.Reasons) {
		t.Errorf("error %v, examples %q", got.Err(), got.Examples)
	}
}

// serveEach answers each connection of a listener with a function of its own.
func serveEach(t *testing.T, serve func(n int, c net.Conn)) load.Target {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for n := 0; ; n++ {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(n, c)
			}()
		}
	}()
	return load.Target{Name: "test", Network: "tcp", Address: listener.Addr().String(), Path: "/"}
}

func readRequest(c net.Conn) error {
	request, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, request.Body)
	return err
}

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// What a server does to a connection while no call is on it is no failure, if
// the client can see it in time; announced by "Connection: close" even less.
func TestConnectionsThatTheServerCloses(t *testing.T) {
	of := serveEach(t, func(n int, c net.Conn) {
		if readRequest(c) != nil {
			return
		}
		if n%2 == 0 {
			fmt.Fprint(c, fine)
		} else {
			fmt.Fprint(c, strings.Replace(fine, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
		}
	})
	got, err := load.Run(t.Context(), of, load.Plan{Connections: 2, Rate: 40, For: 250 * time.Millisecond})
	// A client that is held up may be too late to see it.
	const late = "the server closed the connection before an answer, on a connection used before"
	if err != nil || got.Failed != got.Reasons[late] {
		t.Fatal(err, got.Err())
	}
	if got.Reopened+got.Failed < 2 {
		t.Errorf("%+v, want half of the connections closed", got)
	}
}

func TestWhatIsNoAnswer(t *testing.T) {
	for sent, want := range map[string]string{
		"":                           "closed the connection before an answer, on a new connection",
		"HTTP/1.1 200 OK\r\nContent": "in the middle of an answer",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok":             "in the middle of an answer",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n": `a chunk that begins with "x"`,
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok":             "longer than it said",
		"HTTP/1.1 200 OK\r\n\r\nok":                                  "does not say how long it is",
		"ICY 200 OK\r\nContent-Length: 2\r\n\r\nok":                  `begins with "ICY 200 OK"`,
	} {
		of := serveEach(t, func(_ int, c net.Conn) {
			if readRequest(c) == nil {
				_, _ = io.WriteString(c, sent)
			}
		})
		if _, err := load.Run(t.Context(), of, load.Plan{Connections: 1}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", sent, err, want)
		}
	}
}

// Answers come in pieces of any size.
func TestAnswersInPieces(t *testing.T) {
	answers := []string{
		fine,
		"HTTP/1.1 201 Created\r\ncontent-length: 0\r\nX-A: b\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX-T: 1\r\n\r\n",
	}
	for size := 1; size < 70; size++ {
		stop := make(chan struct{})
		of := serveEach(t, func(_ int, c net.Conn) {
			for i := 0; readRequest(c) == nil; i++ {
				if i == len(answers)-1 {
					close(stop)
				}
				for rest := answers[i%len(answers)]; rest != ""; rest = rest[min(size, len(rest)):] {
					_, _ = io.WriteString(c, rest[:min(size, len(rest))])
				}
			}
		})
		got, err := load.Run(t.Context(), of, load.Plan{Connections: 1, For: time.Minute, Stop: stop})
		if err != nil || got.Calls < len(answers) {
			t.Fatalf("in pieces of %d: %+v, %v", size, got, err)
		}
	}
}
