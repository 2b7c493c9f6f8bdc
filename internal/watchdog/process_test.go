package watchdog_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lofn/internal/watchdog"
)

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// alive reports whether a process exists and is not a zombie.
func alive(t *testing.T, pid int) bool {
	t.Helper()
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	out, _ := exec.CommandContext(t.Context(), "ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	state := strings.TrimSpace(string(out))
	return state != "" && !strings.HasPrefix(state, "Z")
}

// pids waits until a process has written as many numbers to a file.
func pids(t *testing.T, file string, count int) []int {
	t.Helper()
	var found []int
	eventually(t, "process ids in a file", func() bool {
		found = nil
		b, _ := os.ReadFile(file)
		for _, word := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, pid)
		}
		return len(found) == count
	})
	return found
}

func TestStreamingSendsAtOnce(t *testing.T) {
	t.Parallel()
	server, _, _ := serve(t, watchdog.Options{}, "fprocess=cat")
	feed, lines := converse(t, server.URL)
	for _, text := range []string{"one\n", "two\n", "three\n"} {
		if text != "one\n" {
			_, _ = io.WriteString(feed, text)
		}
		if got, err := lines.ReadString('\n'); got != text || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	_ = feed.Close()
	if rest, err := io.ReadAll(lines); len(rest) != 0 || err != nil {
		t.Errorf("at the end: %q, %v", rest, err)
	}
}

// A large body goes through and back in little memory.
func TestStreamingInConstantMemory(t *testing.T) {
	server, _, _ := serve(t, watchdog.Options{}, "fprocess=cat")
	const size = 256 << 20
	r := request(t, "POST", server.URL, "")
	r.Body = io.NopCloser(io.LimitReader(zeros{}, size))
	r.ContentLength = size
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	if n != size || err != nil {
		t.Errorf("got %d bytes, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
}

// Bodies and answers that do not fit in memory go through files.
func TestBufferedLarge(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"serializing", "classic"} {
		dir := t.TempDir()
		server, _, _ := serve(t, watchdog.Options{TempDir: dir}, "fprocess=cat", "mode="+mode)
		body := strings.Repeat("0123456789abcdef", 1<<18)
		got := do(t, request(t, "POST", server.URL, body))
		if got.StatusCode != 200 || got.body != body || got.ContentLength != int64(len(body)) {
			t.Errorf("%s: got %d with %d of %d bytes", mode, got.StatusCode, len(got.body), len(body))
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%s: %d files are left", mode, len(left))
		}
	}
	server, _, _ := serve(t, watchdog.Options{TempDir: "/no/such/folder"}, "fprocess=cat", "mode=serializing")
	got := do(t, request(t, "POST", server.URL, strings.Repeat("x", 2<<20)))
	if got.StatusCode != 500 || !strings.Contains(got.body, "no such file") {
		t.Errorf("got %d %q", got.StatusCode, got.body)
	}
}

// Output that is still in the pipe when the process ends is part of the answer
// of a slow client too.
func TestLastOutputIsNotLost(t *testing.T) {
	t.Parallel()
	text := script(t, "head -c 60000 /dev/zero; (setsid sleep 2 &)")
	server, _, _ := serve(t, watchdog.Options{}, "fprocess="+text)
	for range 5 {
		if got := do(t, request(t, "GET", server.URL, "")); len(got.body) != 60000 {
			t.Fatalf("got %d bytes", len(got.body))
		}
	}
}

// slowWriter takes its time for the first write.
type slowWriter struct {
	*httptest.ResponseRecorder
	once sync.Once
	wait func()
}

func (s *slowWriter) Write(b []byte) (int, error) {
	s.once.Do(s.wait)
	return s.ResponseRecorder.Write(b)
}

// The same when somebody who left the group holds the pipe, and the client is
// slower than those are given.
func TestLastOutputIsNotLostOnASlowClient(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pids")
	text := script(t, "setsid sh -c 'echo $$ >"+file+"; exec sleep 1000' & while ! [ -s "+file+" ]; do :; done; head -c 60000 /dev/zero")
	_, w, _ := serve(t, watchdog.Options{}, "fprocess="+text)
	slow := &slowWriter{ResponseRecorder: httptest.NewRecorder()}
	slow.wait = func() {
		began := time.Now()
		eventually(t, "a second", func() bool { return time.Since(began) > time.Second })
	}
	w.ServeHTTP(slow, httptest.NewRequest("GET", "/", nil))
	if n := slow.Body.Len(); n != 60000 {
		t.Errorf("got %d bytes", n)
	}
	_ = syscall.Kill(pids(t, file, 1)[0], syscall.SIGKILL)
}

// A process that does not read what a client sends does not hold the call, and
// the client gets the answer.
func TestUploadNobodyReads(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"echo done", "sleep 0.2; echo done", "exec <&-; sleep 0.2; echo done", "head -c 1 >/dev/null; echo done"} {
		server, _, _ := serve(t, watchdog.Options{}, "fprocess="+script(t, text), "exec_timeout=0")
		r := request(t, "POST", server.URL, "")
		r.Body, r.ContentLength = io.NopCloser(io.LimitReader(zeros{}, 1<<30)), 1<<30
		got := do(t, r)
		if got.StatusCode != 200 || got.body != "done\n" {
			t.Errorf("%s: got %d %q", text, got.StatusCode, got.body)
		}
	}
}

// What a client still sends when the answer is done must not be read as
// another request.
func TestRestOfABodyIsNotARequest(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"Content-Length: 100000", "Transfer-Encoding: chunked"} {
		server, _, log := serve(t, watchdog.Options{}, "fprocess="+script(t, "head -c 1"))
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", header)
		if strings.HasPrefix(header, "Transfer") {
			_, _ = io.WriteString(conn, "1\r\nx\r\n")
		} else {
			_, _ = io.WriteString(conn, "x")
		}
		answers := bufio.NewReader(conn)
		first, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, first.Body); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
		if second, err := http.ReadResponse(answers, nil); err == nil {
			t.Errorf("%s: there was a second answer: %d", header, second.StatusCode)
		}
		if !first.Close || strings.Contains(log.String(), "smuggled") {
			t.Errorf("%s: the connection stayed in use; log: %s", header, log)
		}
	}
}

// Connections that are kept serve one call after the other, none of which is
// taken for abandoned because of how the one before it ended.
func TestConnectionsAreKept(t *testing.T) {
	t.Parallel()
	server, _, _ := serve(t, watchdog.Options{}, "fprocess=cat")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	defer client.CloseIdleConnections()
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 150 {
				response, err := client.Do(request(t, "POST", server.URL, "hello"))
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if response.StatusCode != 200 || string(body) != "hello" || err != nil || response.Close {
					t.Errorf("got %d %q, %v; the connection is to be closed: %v", response.StatusCode, body, err, response.Close)
				}
			}
		})
	}
	callers.Wait()
}

func TestProgramThatCannotStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "plain"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"streaming", "serializing", "classic"} {
		for process, want := range map[string]string{
			"no-such-program":     "executable file not found",
			"/no/such/program":    "no such file or directory",
			dir + "/plain":        "permission denied",
			dir:                   "permission denied",
			"sh-not-in-this-PATH": "executable file not found",
		} {
			server, _, _ := serve(t, watchdog.Options{}, "fprocess="+process, "mode="+mode)
			got := do(t, request(t, "POST", server.URL, "body"))
			if got.StatusCode != 500 || !strings.Contains(got.body, want) || got.Header.Get("X-OpenFaaS-Internal") != "of-watchdog" {
				t.Errorf("%s: got %d %q, want %q", process, got.StatusCode, got.body, want)
			}
		}
	}
}

// The program is found in the function's PATH, relative ones in its folder.
func TestWhereProgramsAreFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Symlink("/bin/echo", filepath.Join(dir, "only-here")); err != nil {
		t.Fatal(err)
	}
	for _, process := range []string{"only-here found", "./only-here found"} {
		server, _, _ := serve(t, watchdog.Options{Env: []string{"PATH=/nowhere:" + dir}, Dir: dir}, "fprocess="+process)
		if got := do(t, request(t, "GET", server.URL, "")); got.body != "found\n" {
			t.Errorf("%s: got %d %q", process, got.StatusCode, got.body)
		}
	}
}

// A Start of one's own may run something else, and decides what killing means.
func TestStartOption(t *testing.T) {
	t.Parallel()
	cancelled := make(chan struct{}, 2)
	options := watchdog.Options{Start: func(cmd *exec.Cmd) error {
		cmd.Path, cmd.Err = "/bin/sh", nil
		cmd.Args = []string{"sh", "-c", "echo instead of " + cmd.Args[0]}
		cmd.Cancel = func() error { cancelled <- struct{}{}; return nil }
		return cmd.Start()
	}}
	server, _, _ := serve(t, options, "fprocess=nothing")
	if got := do(t, request(t, "GET", server.URL, "")); got.body != "instead of nothing\n" {
		t.Errorf("got %d %q", got.StatusCode, got.body)
	}
	<-cancelled
}

// A handler without a connection underneath works too.
func TestWithoutAServer(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"streaming", "serializing", "classic"} {
		_, w, _ := serve(t, watchdog.Options{}, "fprocess=cat", "mode="+mode)
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest("POST", "/", bytes.NewReader(make([]byte, 3<<20))))
		if rec.Code != 200 || rec.Body.Len() != 3<<20 {
			t.Errorf("%s: got %d with %d bytes", mode, rec.Code, rec.Body.Len())
		}
	}
}

func TestBodyLargerThanAllowed(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"streaming", "serializing", "classic"} {
		_, w, _ := serve(t, watchdog.Options{}, "fprocess="+script(t, "cat >/dev/null; sleep 1000"), "mode="+mode)
		server := httptest.NewServer(http.MaxBytesHandler(w, 1000))
		defer server.Close()
		got := do(t, request(t, "POST", server.URL, strings.Repeat("x", 2000)))
		if got.StatusCode != http.StatusRequestEntityTooLarge || got.body != "The body is larger than 1000 bytes.\n" {
			t.Errorf("%s: got %d %q", mode, got.StatusCode, got.body)
		}
	}
}

// Calls leave nothing behind: goroutines, file descriptors, processes.
func TestNothingIsLeft(t *testing.T) {
	server, w, _ := serve(t, watchdog.Options{}, "fprocess="+script(t, "head -c 10; echo err >&2"), "exec_timeout=0")
	call := func() {
		r := request(t, "POST", server.URL, strings.Repeat("x", 1<<20))
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	call()
	http.DefaultClient.CloseIdleConnections()
	descriptors := func() int { all, _ := os.ReadDir("/dev/fd"); return len(all) }
	goroutines, files := runtime.NumGoroutine(), descriptors()
	for range 30 {
		call()
	}
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "no more goroutines than before", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	eventually(t, "no more file descriptors than before", func() bool { return descriptors() <= files+2 })
	if w.Inflight() != 0 {
		t.Errorf("%d calls are at work", w.Inflight())
	}
}
