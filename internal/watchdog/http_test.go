package watchdog_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lofn/internal/watchdog"
)

func TestStatic(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	public := filepath.Join(root, "home/app/public")
	for name, text := range map[string]string{"home/app/public/index.html": "home", "home/app/public/a/b.txt": "b", "secret": "secret"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"out": "/etc/passwd", "up": "../../../secret", "in": "a/b.txt"} {
		if err := os.Symlink(target, filepath.Join(public, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(public, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	absolute, _, _ := serve(t, watchdog.Options{Root: root}, "mode=static")
	relative, _, _ := serve(t, watchdog.Options{Root: root, Dir: "/home/app"}, "mode=static", "static_path=public")
	for _, server := range []*httptest.Server{absolute, relative} {
		for path, want := range map[string]string{
			"/": "200 home", "/a/b.txt": "200 b", "/in": "200 b", "/none": "404", "/out": "404", "/up": "404", "/fifo": "404",
			"/../../../secret": "404", "/..%2f..%2f..%2fsecret": "404",
		} {
			got := do(t, request(t, "GET", server.URL+path, ""))
			if line := fmt.Sprintf("%d %s", got.StatusCode, got.body); !strings.HasPrefix(line, want) {
				t.Errorf("%s: got %s, want %s", path, line, want)
			}
			if got.Header.Get("X-Duration-Seconds") == "" {
				t.Errorf("%s: no X-Duration-Seconds", path)
			}
		}
	}
}

// The folder itself may not be a way out either: the image chooses it.
func TestStaticPathThatLeadsOut(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.Symlink("/etc", filepath.Join(root, "public")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/public", "/../../../../etc", "../../../../etc"} {
		config, err := watchdog.ConfigFromEnv([]string{"mode=static", "static_path=" + path})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := watchdog.New(config, watchdog.Options{Root: root}); err == nil {
			t.Errorf("%s was opened", path)
		}
	}
}

// upstream is a function that speaks HTTP.
func upstream(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return "upstream_url=" + server.URL
}

func TestRelay(t *testing.T) {
	t.Parallel()
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		dump, _ := httputil.DumpRequest(r, true)
		w.Header().Set("X-Mine", "1")
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(dump)
	})
	server, _, log := serve(t, watchdog.Options{}, "mode=http", "fprocess=x", "log_callid=true", url)
	r := request(t, "PUT", server.URL+"/a%2Fb?c=d;e", "body", "X-Forwarded-For", "10.1.1.1", "X-Call-Id", "42", "User-Agent", "me")
	r.Host = "echo.example"
	got := do(t, r)
	if got.StatusCode != http.StatusTeapot || got.Header.Get("X-Mine") != "1" || got.Header.Get("X-Duration-Seconds") == "" {
		t.Errorf("got %d %v", got.StatusCode, got.Header)
	}
	for _, want := range []string{"PUT /a%2Fb?c=d;e HTTP/1.1\r\n", "Host: echo.example\r\n", "X-Forwarded-For: 10.1.1.1\r\n", "\r\n\r\nbody", "User-Agent: me\r\n"} {
		if !strings.Contains(got.body, want) {
			t.Errorf("no %q in\n%s", want, got.body)
		}
	}
	eventually(t, "the log of the call", func() bool {
		return strings.Contains(log.String(), "PUT /a%2Fb?c=d;e - 418 I'm a teapot - ContentLength: ") && strings.Contains(log.String(), "s) [42]\n")
	})
	do(t, request(t, "GET", server.URL, "", "User-Agent", "kube-probe/1.29"))
	if strings.Contains(log.String(), "GET / ") {
		t.Error("a probe was logged")
	}
}

func TestRelayFailures(t *testing.T) {
	t.Parallel()
	stall := func(w http.ResponseWriter, r *http.Request) { _, _ = io.ReadAll(r.Body); <-r.Context().Done() }
	t.Run("deadline", func(t *testing.T) {
		server, _, _ := serve(t, watchdog.Options{}, "mode=http", "fprocess=x", "exec_timeout=50ms", upstream(t, stall))
		if got := do(t, request(t, "POST", server.URL, "body")); got.StatusCode != 504 || got.body != "" {
			t.Errorf("got %d %q", got.StatusCode, got.body)
		}
	})
	t.Run("deadline while the client sends", func(t *testing.T) {
		server, _, _ := serve(t, watchdog.Options{}, "mode=http", "fprocess=x", "exec_timeout=50ms", upstream(t, stall))
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
		got, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || got.StatusCode != 504 || !got.Close {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("X-Timeout", func(t *testing.T) {
		server, _, _ := serve(t, watchdog.Options{}, "mode=http", "fprocess=x", upstream(t, stall))
		if got := do(t, request(t, "POST", server.URL, "", "X-Timeout", "50ms")); got.StatusCode != 504 {
			t.Errorf("got %d %q", got.StatusCode, got.body)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		server, _, log := serve(t, watchdog.Options{}, "mode=http", "fprocess=x", "upstream_url=http://"+l.Addr().String())
		got := do(t, request(t, "POST", server.URL, "body"))
		if got.StatusCode != 500 || got.body != "" || got.Header.Get("X-OpenFaaS-Internal") != "of-watchdog" {
			t.Errorf("got %d %q", got.StatusCode, got.body)
		}
		if !strings.Contains(log.String(), "connection refused") {
			t.Errorf("log: %s", log)
		}
	})
}

// A function may answer while it reads, and need not read to the end.
func TestRelayBothWays(t *testing.T) {
	t.Parallel()
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		for lines := bufio.NewScanner(r.Body); lines.Scan() && lines.Text() != "enough"; {
			_, _ = fmt.Fprintln(w, "got", lines.Text())
			_ = control.Flush()
		}
		_, _ = io.WriteString(w, "bye\n")
	})
	server, w, _ := serve(t, watchdog.Options{}, "mode=http", "fprocess=x", url)
	for _, last := range []string{"", "enough\n"} {
		feed, answer := converse(t, server.URL)
		for _, text := range []string{"one\n", "two\n", "three\n"} {
			if text != "one\n" {
				_, _ = io.WriteString(feed, text)
			}
			if got, err := answer.ReadString('\n'); got != "got "+text || err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		if last == "" {
			_ = feed.Close()
		} else {
			_, _ = io.WriteString(feed, last)
		}
		if rest, err := io.ReadAll(answer); string(rest) != "bye\n" || err != nil {
			t.Errorf("at the end: %q, %v", rest, err)
		}
		eventually(t, "the end of the call", func() bool { return w.Inflight() == 0 })
	}
}

// exec_timeout is not for answers that go on as long as both sides want.
func TestRelayWithoutEnd(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		<-release
		_, _ = io.WriteString(w, "last\n")
	})
	server, _, _ := serve(t, watchdog.Options{}, "mode=http", "fprocess=x", "exec_timeout=50ms", url)
	for _, accept := range []string{"*/*", "text/event-stream", "application/x-ndjson"} {
		response, err := http.DefaultClient.Do(request(t, "GET", server.URL, "", "Accept", accept))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		lines := bufio.NewReader(response.Body)
		if got, err := lines.ReadString('\n'); got != "first\n" || err != nil {
			t.Fatalf("%s: got %q, %v", accept, got, err)
		}
		if accept == "*/*" {
			// Its end shows that more than exec_timeout has passed.
			if _, err := io.ReadAll(lines); err == nil {
				t.Error("the answer was not cut")
			}
			continue
		}
		if accept == "application/x-ndjson" {
			close(release)
			if got, err := lines.ReadString('\n'); got != "last\n" || err != nil {
				t.Errorf("%s: got %q, %v", accept, got, err)
			}
		}
	}
}

func TestRelayWebsocket(t *testing.T) {
	t.Parallel()
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		line, _ := buf.ReadString('\n')
		_, _ = io.WriteString(conn, "echo "+line)
	})
	server, w, _ := serve(t, watchdog.Options{}, "mode=http", "fprocess=x", "exec_timeout=1ms", url)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	answers := bufio.NewReader(conn)
	response, err := http.ReadResponse(answers, nil)
	if err != nil || response.StatusCode != 101 {
		t.Fatal(response, err)
	}
	_, _ = io.WriteString(conn, "hello\n")
	if got, err := answers.ReadString('\n'); got != "echo hello\n" {
		t.Errorf("got %q, %v", got, err)
	}
	_ = conn.Close()
	eventually(t, "the end of the call", func() bool { return w.Inflight() == 0 })
}

func TestRelayBuffersTheBody(t *testing.T) {
	t.Parallel()
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "%d of %d", n, r.ContentLength)
	})
	for _, size := range []int{0, 1000, 3 << 20} {
		for buffer, length := range map[string]int{"true": size, "false": -1} {
			server, _, _ := serve(t, watchdog.Options{}, "mode=http", "fprocess=x", "http_buffer_req_body="+buffer, url)
			r := request(t, "POST", server.URL, "")
			r.Body, r.ContentLength = io.NopCloser(io.LimitReader(zeros{}, int64(size))), -1
			want := fmt.Sprintf("%d of %d", size, length)
			if got := do(t, r); got.body != want && size > 0 {
				t.Errorf("buffer %s: got %q, want %q", buffer, got.body, want)
			}
		}
	}
}
