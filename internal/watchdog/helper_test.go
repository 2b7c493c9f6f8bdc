package watchdog_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lofn/internal/watchdog"
)

// patience is far more than anything here takes; it ends a test that would
// hang otherwise.
const patience = 30 * time.Second

// logs collects what is written to a function's log.
type logs struct {
	mu     sync.Mutex
	text   bytes.Buffer
	opened int
	closed int
}

func (l *logs) open() io.WriteCloser {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened++
	return logWriter{l}
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logs) unclosed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.opened - l.closed
}

type logWriter struct{ *logs }

func (w logWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w logWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed++
	return nil
}

// script returns a command line that runs a shell script. The script is not
// executed by itself, since a file that was just written may be "busy" while
// another test forks.
func script(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "handler")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "sh " + file
}

// serve starts a watchdog behind a real HTTP server.
func serve(t *testing.T, options watchdog.Options, env ...string) (*httptest.Server, *watchdog.Watchdog, *logs) {
	t.Helper()
	config, err := watchdog.ConfigFromEnv(env)
	if err != nil {
		t.Fatal(err)
	}
	log := &logs{}
	options.Stderr = log.open
	if options.Env == nil {
		options.Env = []string{"PATH=" + os.Getenv("PATH"), "BASE=kept"}
	}
	w, err := watchdog.New(config, options)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(w)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		server.Close()
		if n := log.unclosed(); n != 0 {
			t.Errorf("%d logs were not closed", n)
		}
	})
	return server, w, log
}

func request(t *testing.T, method, url, body string, header ...string) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
	}
	return r
}

// answer is a response read to its end.
type answer struct {
	*http.Response
	body string
}

func do(t *testing.T, r *http.Request) answer {
	t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v (got %.100q)", err, body)
	}
	return answer{response, string(body)}
}

// converse begins a call, writes "one\n" to its body, and returns what is open
// still: the body and the answer.
func converse(t *testing.T, url string) (feed io.WriteCloser, lines *bufio.Reader) {
	t.Helper()
	body, feed := io.Pipe()
	t.Cleanup(func() { feed.Close() })
	r := request(t, "POST", url, "")
	r.Body, r.ContentLength = body, -1
	arrived := make(chan *http.Response, 1)
	go func() {
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Error(err)
		}
		arrived <- response
	}()
	_, _ = io.WriteString(feed, "one\n")
	response := <-arrived // while the body is still open
	if response == nil {
		t.FailNow()
	}
	t.Cleanup(func() { response.Body.Close() })
	return feed, bufio.NewReader(response.Body)
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never came true: %s", what)
		}
	}
}
