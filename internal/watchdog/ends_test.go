package watchdog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lofn/internal/watchdog"
)

// At its deadline the whole group of the process ends, and so it does when the
// process ended before those that it started.
func TestGroupEndsWithTheCall(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, mode, text string
		status           int
	}{
		{"deadline", "streaming", "sleep 1000 & sleep 1001 & echo $! $$ >>%s; wait", 504},
		{"deadline", "serializing", "sleep 1000 & sleep 1001 & echo $! $$ >>%s; wait", 500},
		{"deadline", "classic", "sleep 1000 & sleep 1001 & echo $! $$ >>%s; wait", 408},
		{"left behind", "streaming", "sleep 1000 & echo $! $$ >>%s; echo out", 200},
		{"left behind", "serializing", "sleep 1000 & echo $! $$ >>%s; echo out", 200},
		{"left behind", "classic", "sleep 1000 & echo $! $$ >>%s; echo out", 200},
	} {
		t.Run(c.name+" "+c.mode, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pids")
			timeout := "exec_timeout=500ms"
			if c.status == 200 {
				timeout = "exec_timeout=0"
			}
			server, _, _ := serve(t, watchdog.Options{}, "fprocess="+script(t, fmt.Sprintf(c.text, file)), "mode="+c.mode, timeout)
			got := do(t, request(t, "POST", server.URL, "body"))
			if got.StatusCode != c.status {
				t.Errorf("got %d %q", got.StatusCode, got.body)
			}
			for _, pid := range pids(t, file, 2) {
				eventually(t, "the end of a process", func() bool { return !alive(t, pid) })
			}
		})
	}
}

// Who left the group and holds the output open does not hold the call.
func TestStrayDoesNotHoldTheCall(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pids")
	text := script(t, "setsid sh -c 'echo $$ >"+file+"; exec sleep 1000' & while ! [ -s "+file+" ]; do :; done; echo out")
	server, _, _ := serve(t, watchdog.Options{}, "fprocess="+text, "exec_timeout=0")
	got := do(t, request(t, "POST", server.URL, "body"))
	if got.StatusCode != 200 || got.body != "out\n" {
		t.Errorf("got %d %q", got.StatusCode, got.body)
	}
	for _, pid := range pids(t, file, 1) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// A client that goes takes the process along, whatever that is at.
func TestClientGone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, mode, text string
		length           int64
	}{
		{"while it works", "streaming", "echo $$ >%s; sleep 1000", 0},
		{"while it works", "serializing", "echo $$ >%s; sleep 1000", 0},
		{"while it works", "classic", "echo $$ >%s; sleep 1000", 0},
		{"while it sends", "streaming", "echo $$ >%s; cat >/dev/null; sleep 1000", 1000},
		{"while it floods", "streaming", "echo $$ >%s; exec cat /dev/zero", 0},
	} {
		t.Run(c.name+" "+c.mode, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pids")
			server, w, _ := serve(t, watchdog.Options{}, "fprocess="+script(t, fmt.Sprintf(c.text, file)), "mode="+c.mode, "exec_timeout=0")
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", c.length)
			pid := pids(t, file, 1)[0]
			_ = conn.Close()
			eventually(t, "the end of the process", func() bool { return !alive(t, pid) })
			eventually(t, "the end of the call", func() bool { return w.Inflight() == 0 })
		})
	}
}

// An answer that is cut by its deadline does not look whole.
func TestDeadlineAfterOutputBreaksTheAnswerOff(t *testing.T) {
	t.Parallel()
	server, _, log := serve(t, watchdog.Options{}, "fprocess="+script(t, "echo some; sleep 1000"), "exec_timeout=300ms")
	response, err := http.DefaultClient.Do(request(t, "POST", server.URL, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != 200 || string(body) != "some\n" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %d %q, %v", response.StatusCode, body, err)
	}
	eventually(t, "the reason in the log", func() bool {
		return strings.Contains(log.String(), "lofn: the answer was broken off: the function had 300ms (exec_timeout) and was stopped")
	})
}

// A client that stops reading cannot keep a call beyond its deadline.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	server, w, _ := serve(t, watchdog.Options{}, "fprocess=cat /dev/zero", "exec_timeout=200ms")
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "the start of the call", func() bool { return w.Inflight() == 1 })
	eventually(t, "the end of the call", func() bool { return w.Inflight() == 0 })
}

// A client that stops sending cannot either.
func TestClientThatDoesNotSend(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]int{"streaming": 504, "serializing": 500, "classic": 408} {
		server, _, _ := serve(t, watchdog.Options{}, "fprocess=cat", "exec_timeout=200ms", "mode="+mode)
		body, feed := io.Pipe()
		defer feed.Close()
		r := request(t, "POST", server.URL, "")
		r.Body, r.ContentLength = body, 1000
		got := do(t, r)
		if got.StatusCode != want || !got.Close {
			t.Errorf("%s: got %d %q", mode, got.StatusCode, got.body)
		}
	}
}

func TestMaxInflight(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	server, w, _ := serve(t, watchdog.Options{}, "fprocess=cat "+fifo, "max_inflight=2")
	ended := make(chan int, 2)
	for range 2 {
		go func() { ended <- do(t, request(t, "GET", server.URL, "")).StatusCode }()
	}
	eventually(t, "two calls at work", func() bool { return w.Inflight() == 2 })
	got := do(t, request(t, "GET", server.URL, ""))
	if got.StatusCode != 429 || got.body != "Concurrent request limit exceeded. Max concurrent requests: 2\n" ||
		got.Header.Get("Content-Type") != "text/plain" || got.Header.Get("X-OpenFaaS-Internal") != "faas-middleware" {
		t.Errorf("got %d %q %v", got.StatusCode, got.body, got.Header)
	}
	gate, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = gate.Close()
	eventually(t, "the end of both", func() bool {
		// The second may have opened the pipe after the first was let go.
		if again, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			_ = again.Close()
		}
		return len(ended) == 2
	})
	if a, b := <-ended, <-ended; a != 200 || b != 200 {
		t.Errorf("got %d and %d", a, b)
	}
}

func TestShutdownWaits(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pids")
	text := script(t, "echo $$ >"+file+"; read line; echo got $line")
	server, w, _ := serve(t, watchdog.Options{}, "fprocess="+text)
	body, feed := io.Pipe()
	r := request(t, "POST", server.URL, "")
	r.Body, r.ContentLength = body, -1
	answered := make(chan answer, 1)
	go func() { answered <- do(t, r) }()
	pids(t, file, 1)
	down := make(chan error, 1)
	go func() { down <- w.Shutdown(context.Background()) }()
	eventually(t, "refusal of new calls", func() bool {
		got := do(t, request(t, "GET", server.URL, ""))
		return got.StatusCode == 503 && got.Header.Get("X-OpenFaaS-Internal") == "of-watchdog"
	})
	select {
	case err := <-down:
		t.Fatalf("Shutdown did not wait: %v", err)
	default:
	}
	_, _ = io.WriteString(feed, "it\n")
	_ = feed.Close()
	if got := <-answered; got.StatusCode != 200 || got.body != "got it\n" {
		t.Errorf("got %d %q", got.StatusCode, got.body)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsWhatTakesTooLong(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pids")
	server, w, _ := serve(t, watchdog.Options{}, "fprocess="+script(t, "echo $$ >"+file+"; sleep 1000"), "exec_timeout=0")
	answered := make(chan answer, 1)
	go func() { answered <- do(t, request(t, "GET", server.URL, "")) }()
	pid := pids(t, file, 1)[0]
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if alive(t, pid) || w.Inflight() != 0 {
		t.Error("something is left")
	}
	if got := <-answered; got.StatusCode != 503 {
		t.Errorf("got %d %q", got.StatusCode, got.body)
	}
}
