package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
)

// taking is a queue that does with submissions what the test says.
type taking struct {
	lofn.Queue
	enqueue func(context.Context, lofn.Submission) (lofn.CallStatus, error)
}

func (q taking) Enqueue(ctx context.Context, s lofn.Submission) (lofn.CallStatus, error) {
	return q.enqueue(ctx, s)
}

// takeAll reads the body and accepts.
func takeAll(_ context.Context, s lofn.Submission) (lofn.CallStatus, error) {
	if s.Body != nil {
		if _, err := io.Copy(io.Discard, s.Body); err != nil {
			return lofn.CallStatus{}, err
		}
	}
	return lofn.CallStatus{ID: s.ID, Function: s.Function.Host(), State: lofn.CallQueued, AcceptedAt: s.Accepted}, nil
}

// sendRaw sends a request as it is, closes the client's side, and returns the
// answer.
func (s *submitting) sendRaw(request string) (status int, body string) {
	s.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		s.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		s.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

func TestABodyThatBreaksOffIsNotAccepted(t *testing.T) {
	s := startAsync(t)
	const head = "POST /async-function/echo HTTP/1.1\r\nHost: x\r\n"
	for name, request := range map[string]string{
		"shorter than announced": head + "Content-Length: 10\r\n\r\nshort",
		"large, and shorter":     head + "Content-Length: 100000\r\n\r\n" + strings.Repeat("x", 99_999),
		"a chunk is missing":     head + "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
		"a chunk is broken":      head + "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\nzz\r\n",
	} {
		if status, text := s.sendRaw(request); status != 400 || !strings.Contains(text, "the body of the request cannot be read") {
			t.Errorf("%s: got %d %s, want 400", name, status, text)
		}
	}
	if n := s.open(); n != 0 {
		t.Errorf("%d calls were accepted", n)
	}
	// One that sends all and then closes its side is served.
	if status, text := s.sendRaw(head + "Content-Length: 4\r\n\r\nbody"); status != 202 {
		t.Errorf("a client that closed its side: got %d %s", status, text)
	}
}

func TestABodyOverTheLimitIsNotAccepted(t *testing.T) {
	s := startAsync(t)
	s.functions.declare(t, echo, lofn.AnnotationMaxBody, "64Ki")
	for _, tc := range []struct {
		size      int64
		announced bool
		status    int
	}{{64 << 10, true, 202}, {64 << 10, false, 202}, {64<<10 + 1, true, 413}, {64<<10 + 1, false, 413}} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/async-function/echo", io.LimitReader(zeros{}, tc.size))
		if err != nil {
			t.Fatal(err)
		}
		if tc.announced {
			req.ContentLength = tc.size
		}
		resp, text := roundTrip(t, req)
		if resp.StatusCode != tc.status || tc.status == 413 && !strings.Contains(text, "echo.openfaas-fn takes bodies of up to 65536 bytes") {
			t.Errorf("%d bytes, announced %v: got %d %s, want %d", tc.size, tc.announced, resp.StatusCode, text, tc.status)
		}
	}
	// Its client is not asked for it.
	head := "POST /async-function/echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 65537\r\n\r\n"
	if status, text := s.sendRaw(head); status != 413 {
		t.Errorf("announced: got %d %s", status, text)
	}
	if n := s.open(); n != 2 {
		t.Errorf("%d calls were accepted, want 2", n)
	}
}

// TestABodyPassesInPieces has the client send the next piece only when the queue
// has the one before.
func TestABodyPassesInPieces(t *testing.T) {
	const piece, pieces = 1 << 20, 10
	read := make(chan int, 1)
	var total atomic.Int64
	queue := taking{enqueue: func(ctx context.Context, s lofn.Submission) (lofn.CallStatus, error) {
		buffer := make([]byte, 32<<10)
		for {
			n, err := s.Body.Read(buffer)
			if total.Add(int64(n))%piece == 0 && n > 0 {
				read <- n
			}
			if err == io.EOF {
				return takeAll(ctx, lofn.Submission{Call: s.Call})
			}
			if err != nil {
				return lofn.CallStatus{}, err
			}
		}
	}}
	functions := deployed{}
	functions.declare(t, echo)
	s := &submitting{TB: t, url: serveAsync(t, functions, queue)}
	body, client := io.Pipe()
	go func() {
		for range pieces {
			_, _ = client.Write(make([]byte, piece))
			<-read
		}
		client.Close()
	}()
	if resp, text := s.do("POST", "/async-function/echo", body); resp.StatusCode != 202 || total.Load() != piece*pieces {
		t.Errorf("got %d %s after %d bytes", resp.StatusCode, text, total.Load())
	}
}

func TestALargeBodyIsQueuedWhole(t *testing.T) {
	s := startAsync(t)
	body := strings.Repeat("0123456789", 1<<20)
	s.accept("POST", "/async-function/echo", body)
	d := s.take(echo)
	if got := s.bodyOf(d); got != body || d.Call().Size != int64(len(body)) {
		t.Errorf("%d bytes were queued, and it says %d; sent were %d", len(got), d.Call().Size, len(body))
	}
}

func TestErrorsOfTheQueue(t *testing.T) {
	var fault error
	functions := deployed{}
	functions.declare(t, echo)
	queue := taking{enqueue: func(context.Context, lofn.Submission) (lofn.CallStatus, error) { return lofn.CallStatus{}, fault }}
	s := &submitting{TB: t, url: serveAsync(t, functions, queue)}
	for _, tc := range []struct {
		err             error
		status          int
		retry, contains string
	}{
		{&lofn.Error{Code: lofn.Overloaded, Text: "full", RetryAfter: 4500 * time.Millisecond}, 429, "5", "full"},
		{lofn.Errorf(lofn.Full, "the disk of /srv/secret is full"), 507, "60", "the disk of the queue is full, so the call was not accepted"},
		{lofn.Errorf(lofn.Unavailable, "nats://srv/secret does not answer"), 503, "1", "the queue of asynchronous calls cannot be reached"},
		{&lofn.Error{Code: lofn.Unavailable, Text: "upgrading", RetryAfter: 3 * time.Second}, 503, "3", "try again in a moment"},
		{lofn.Errorf(lofn.Invalid, "headers: too long"), 400, "", "headers: too long"},
		{errors.New("open /srv/secret/place: input/output error"), 500, "", "the log of lofn says why"},
	} {
		fault = tc.err
		resp, text := s.do("POST", "/async-function/echo", strings.NewReader("x"), "X-Call-Id", "mine")
		if resp.StatusCode != tc.status || resp.Header.Get("Retry-After") != tc.retry || !strings.Contains(text, tc.contains) {
			t.Errorf("%v: got %d %q, Retry-After %q", tc.err, resp.StatusCode, text, resp.Header.Get("Retry-After"))
		}
		if resp.Header.Get("X-Call-Id") != "" || strings.Contains(text, "srv/secret") {
			t.Errorf("%v: got %q with %v", tc.err, text, resp.Header)
		}
	}
}

// oneConn is a listener for a connection in memory.
type oneConn struct{ conns chan net.Conn }

func (l oneConn) Accept() (net.Conn, error) {
	if conn, ok := <-l.conns; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (l oneConn) Close() error   { return nil }
func (l oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// inTime runs a client against a gateway with the queue, in virtual time.
func inTime(t *testing.T, queue taking, client func(t *testing.T, conn net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		functions := deployed{}
		functions.declare(t, echo)
		server := &http.Server{Handler: http.HandlerFunc(newAsync(functions, queue).Async)}
		here, there := net.Pipe()
		listener := oneConn{make(chan net.Conn, 1)}
		listener.conns <- there
		go func() { _ = server.Serve(listener) }()
		client(t, here)
		here.Close()
		close(listener.conns)
		server.Close()
		synctest.Wait()
	})
}

// answered reads an answer, and checks how long it took.
func answered(t *testing.T, conn net.Conn, after time.Duration) (*http.Response, string) {
	t.Helper()
	began := time.Now()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	if took := time.Since(began); took != after {
		t.Errorf("the answer came after %v, want %v", took, after)
	}
	return resp, string(text)
}

const slowHead = "POST /async-function/echo HTTP/1.1\r\nHost: x\r\nX-Call-Id: mine\r\nContent-Length: 10\r\n\r\n"

func TestAQueueThatDoesNotAnswer(t *testing.T) {
	silent := func(read bool) taking {
		return taking{enqueue: func(ctx context.Context, s lofn.Submission) (lofn.CallStatus, error) {
			if read {
				_, _ = io.Copy(io.Discard, s.Body)
			}
			<-ctx.Done()
			return lofn.CallStatus{}, ctx.Err()
		}}
	}
	slow := taking{enqueue: func(ctx context.Context, _ lofn.Submission) (lofn.CallStatus, error) {
		<-ctx.Done()
		return lofn.CallStatus{}, lofn.Errorf(lofn.DeadlineExceeded, "not in time")
	}}
	for name, queue := range map[string]taking{"before the body": silent(false), "after it": silent(true), "and says so": slow} {
		t.Run(name, func(t *testing.T) {
			inTime(t, queue, func(t *testing.T, conn net.Conn) {
				fmt.Fprint(conn, slowHead+"0123456789")
				resp, text := answered(t, conn, 30*time.Second)
				if resp.StatusCode != 504 || !strings.Contains(text, "not known whether the call was accepted") || !strings.Contains(text, "/async-function/calls/mine") {
					t.Errorf("got %d %s", resp.StatusCode, text)
				}
			})
		})
	}
}

// TestAQueueThatKnowsBetter says late that it did not accept the call.
func TestAQueueThatKnowsBetter(t *testing.T) {
	queue := taking{enqueue: func(ctx context.Context, _ lofn.Submission) (lofn.CallStatus, error) {
		<-ctx.Done()
		return lofn.CallStatus{}, lofn.Errorf(lofn.Unavailable, "closed: %w", ctx.Err())
	}}
	inTime(t, queue, func(t *testing.T, conn net.Conn) {
		fmt.Fprint(conn, slowHead+"0123456789")
		if resp, text := answered(t, conn, 30*time.Second); resp.StatusCode != 503 || !strings.Contains(text, "cannot be reached") {
			t.Errorf("got %d %s", resp.StatusCode, text)
		}
	})
}

func TestASlowClientIsWaitedFor(t *testing.T) {
	inTime(t, taking{enqueue: takeAll}, func(t *testing.T, conn net.Conn) {
		fmt.Fprint(conn, slowHead)
		for range 10 {
			time.Sleep(110 * time.Second)
			fmt.Fprint(conn, "x")
		}
		if resp, text := answered(t, conn, 0); resp.StatusCode != 202 {
			t.Errorf("got %d %s", resp.StatusCode, text)
		}
	})
}

func TestAClientThatStopsSendingIsNot(t *testing.T) {
	inTime(t, taking{enqueue: takeAll}, func(t *testing.T, conn net.Conn) {
		fmt.Fprint(conn, slowHead+"01234")
		resp, text := answered(t, conn, 2*time.Minute)
		if resp.StatusCode != 400 || !strings.Contains(text, "nothing came of it for 2m0s") || !resp.Close {
			t.Errorf("got %d %s, and the connection goes on: %v", resp.StatusCode, text, !resp.Close)
		}
	})
}
