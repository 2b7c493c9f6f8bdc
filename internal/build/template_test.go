package build_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func httpTemplates() []string { return []string{"golang-middleware", "python3-http", "node22"} }

// TestHTTPTemplates runs what every template of the http mode promises.
func TestHTTPTemplates(t *testing.T) {
	for _, lang := range httpTemplates() {
		t.Run(lang, func(t *testing.T) {
			f := buildFunction(t, lang)
			s := f.serve(t)
			t.Run("event", func(t *testing.T) { testEvent(t, s) })
			t.Run("status and headers", func(t *testing.T) { testStatus(t, s) })
			t.Run("binary body", func(t *testing.T) { testBinary(t, s, 256) })
			t.Run("large body", func(t *testing.T) { testBinary(t, s, 8<<20) })
			t.Run("chunked body", func(t *testing.T) { testChunked(t, s) })
			t.Run("at the same time", func(t *testing.T) { testConcurrent(t, s) })
			t.Run("fails", func(t *testing.T) { testFailure(t, s, lang) })
			t.Run("head", func(t *testing.T) { testHead(t, s) })
			t.Run("drains", func(t *testing.T) { testDrain(t, s) })
			t.Run("port", func(t *testing.T) { testPort(t, f) })
		})
	}
}

func testEvent(t *testing.T, s *server) {
	resp, body := s.call(t, "PUT", "/fields?colour=blue%20green&n=1", strings.NewReader("twelve bytes"), "X-Thing", "a thing", "Content-Type", "text/plain")
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"method": "PUT", "path": "/fields", "query": "blue green", "header": "a thing", "length": 12.0, "hostname": hostname}
	if resp.StatusCode != http.StatusOK || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("status %d and %v, want %v", resp.StatusCode, got, want)
	}
}

func testStatus(t *testing.T, s *server) {
	resp, body := s.call(t, "GET", "/status", nil)
	if resp.StatusCode != http.StatusTeapot || string(body) != "a teapot" {
		t.Errorf("status %d and body %q", resp.StatusCode, body)
	}
	if resp.Header.Get("X-One") != "1" || fmt.Sprint(resp.Header.Values("X-Many")) != "[a b]" {
		t.Errorf("headers %v", resp.Header)
	}
}

func testBinary(t *testing.T, s *server, size int) {
	sent := make([]byte, size)
	if _, err := rand.Read(sent); err != nil {
		t.Fatal(err)
	}
	_, got := s.call(t, "POST", "/echo", bytes.NewReader(sent), "Content-Type", "application/octet-stream")
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back changed, as %d", len(sent), len(got))
	}
}

func testChunked(t *testing.T, s *server) {
	// A reader of unknown length makes the client send chunks.
	body := io.MultiReader(strings.NewReader("one "), strings.NewReader("two"))
	_, got := s.call(t, "POST", "/echo", body, "Content-Type", "application/octet-stream")
	if string(got) != "one two" {
		t.Errorf("got %q", got)
	}
}

func testConcurrent(t *testing.T, s *server) {
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			want := strings.Repeat(fmt.Sprint(i), 1000)
			_, got := s.call(t, "POST", "/echo", strings.NewReader(want), "Content-Type", "application/octet-stream")
			if string(got) != want {
				t.Errorf("call %d got another's body", i)
			}
		})
	}
	wg.Wait()
}

func testFailure(t *testing.T, s *server, lang string) {
	resp, err := s.Post("http://fn/fail", "application/octet-stream", strings.NewReader("x"))
	if err == nil {
		defer resp.Body.Close()
	}
	// net/http breaks the connection off when a handler panics.
	if lang != "golang-middleware" && (err != nil || resp.StatusCode != http.StatusInternalServerError) {
		t.Errorf("got %v, %v, want status 500", resp, err)
	}
	eventually(t, "the reason is in the log", func() bool {
		return strings.Contains(s.log.String(), "the handler broke on purpose")
	})
	testEvent(t, s)
}

func testHead(t *testing.T, s *server) {
	resp, body := s.call(t, "HEAD", "/status", nil)
	if resp.StatusCode != http.StatusTeapot || len(body) != 0 {
		t.Errorf("status %d and body %q", resp.StatusCode, body)
	}
	testEvent(t, s)
}

// testDrain ends the function while a call is under way and connections idle.
func testDrain(t *testing.T, s *server) {
	testEvent(t, s)
	folder := t.TempDir()
	answer := make(chan string, 1)
	go func() {
		resp, err := s.Get("http://fn/slow?folder=" + folder)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		answer <- fmt.Sprintf("%d %s %v", resp.StatusCode, body, err)
	}()
	eventually(t, "the call begins", func() bool { return isThere(folder, "begun") })
	s.terminate(t)
	eventually(t, "no new connection is taken", func() bool {
		conn, err := s.dial()
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	if err := os.WriteFile(filepath.Join(folder, "finish"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; got != "200 finished <nil>" {
		t.Errorf("the call under way got %q", got)
	}
	if err := s.ended(t); err != nil {
		t.Errorf("the process ended with %v", err)
	}
}

func isThere(folder, name string) bool {
	_, err := os.Stat(filepath.Join(folder, name))
	return err == nil
}

func testPort(t *testing.T, f *function) {
	for _, variable := range []string{"PORT", "http_port"} {
		port := freePort(t)
		s := f.start(t, "tcp", "127.0.0.1:"+port, variable+"="+port)
		testEvent(t, s)
		s.terminate(t)
		if err := s.ended(t); err != nil {
			t.Errorf("the process ended with %v", err)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestGoTemplateHasStaticFiles(t *testing.T) {
	s := buildFunction(t, "golang-middleware").serve(t)
	if _, body := s.call(t, "GET", "/static", nil); string(body) != "a page\n" {
		t.Errorf("got %q", body)
	}
}

func TestPythonAnswers(t *testing.T) {
	s := buildFunction(t, "python3-http").serve(t)
	for _, c := range []struct {
		path   string
		status int
		body   string
		header string // "Name: value"
	}{
		{"/nothing", 200, "", "Content-Length: 0"},
		{"/pair", 201, "made", "Content-Type: text/html; charset=utf-8"},
		{"/triple", 201, "made", "X-One: 1"},
		{"/pairs", 201, "made", "Set-Cookie: b=2"},
		{"/listing", 200, "[1, 2, 3]", "Content-Type: application/json"},
		{"/stream", 200, "one two three", "Content-Type: text/event-stream"},
		{"/split", 500, "the function failed: its log says why\n", "Content-Type: text/plain; charset=utf-8"},
		{"/no_status", 500, "the function failed: its log says why\n", ""},
		{"/gone", 204, "", ""},
		{"/twice?n=1&n=2", 200, `["a, b", ["a", "b"], ["1", "2"], true]`, ""},
	} {
		t.Run(c.path, func(t *testing.T) {
			resp, body := s.call(t, "GET", c.path, nil, "X-Thing", "a", "x-thing", "b")
			if resp.StatusCode != c.status || string(body) != c.body {
				t.Errorf("status %d and body %q, want %d and %q", resp.StatusCode, body, c.status, c.body)
			}
			if c.header == "" {
				return
			}
			name, value, _ := strings.Cut(c.header, ": ")
			if got := strings.Join(resp.Header.Values(name), "|"); !strings.HasSuffix("|"+got, "|"+value) {
				t.Errorf("%s is %q, want %q", name, got, value)
			}
		})
	}
}

func TestPythonStreamThatBreaksIsCutShort(t *testing.T) {
	s := buildFunction(t, "python3-http").serve(t)
	resp, err := s.Get("http://fn/broken_stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("a broken stream looks whole: %q", body)
	}
}

// TestPythonBadRequests sends what no client should.
func TestPythonBadRequests(t *testing.T) {
	s := buildFunction(t, "python3-http").serve(t)
	for name, c := range map[string]struct{ request, want string }{
		"no HTTP":             {"hello\r\n\r\n", "HTTP/1.1 400 "},
		"another version":     {"GET / HTTP/2.0\r\n\r\n", "HTTP/1.1 400 "},
		"header without name": {"GET /fields HTTP/1.1\r\n: x\r\n\r\n", "HTTP/1.1 400 "},
		"folded header":       {"GET /fields HTTP/1.1\r\nA: b\r\n c\r\n\r\n", "HTTP/1.1 400 "},
		"space before colon":  {"GET /fields HTTP/1.1\r\nA : b\r\n\r\n", "HTTP/1.1 400 "},
		"negative length":     {"POST /fields HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400 "},
		"two lengths":         {"POST /fields HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 400 "},
		"length and chunks":   {"POST /fields HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400 "},
		"chunk without size":  {"POST /fields HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n", "HTTP/1.1 400 "},
		"chunk too long":      {"POST /fields HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", "HTTP/1.1 400 "},
		"long header":         {"GET /fields HTTP/1.1\r\nA: " + strings.Repeat("x", 1<<17) + "\r\n\r\n", "HTTP/1.1 431 "},
		"body cut short":      {"POST /fields HTTP/1.1\r\nContent-Length: 10\r\n\r\nab", ""},
		"headers cut short":   {"POST /fields HTTP/1.1\r\nContent-Le", ""},
		"old client":          {"GET /pair HTTP/1.0\r\n\r\n", "HTTP/1.1 201 "},
		"old client's stream": {"GET /stream HTTP/1.0\r\n\r\n", "HTTP/1.1 200 "},
		"absolute target":     {"GET http://fn/pair HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 201 "},
		"expects":             {"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 "},
	} {
		t.Run(name, func(t *testing.T) {
			if got := s.raw(t, c.request); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	testEvent(t, s)
}

func TestPythonKeepsConnections(t *testing.T) {
	s := buildFunction(t, "python3-http").serve(t)
	conn, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// Two calls in one packet are answered in order.
	if _, err := io.WriteString(conn, strings.Repeat("POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", 2)); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	for range 2 {
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); string(body) != "ab" || err != nil {
			t.Fatalf("got %q, %v", body, err)
		}
	}
}

func TestNodeBodies(t *testing.T) {
	f := buildFunction(t, "node22")
	s := f.serve(t)
	for _, c := range []struct {
		kind, body string
		status     int
		want       string
	}{
		{"text/plain; charset=utf-8", "héllo", 200, `{"type":"string","body":"héllo"}`},
		{"application/json", `{"a":[1,2]}`, 200, `{"type":"object","body":{"a":[1,2]}}`},
		{"application/json", `{"a":`, 400, ""},
		{"application/json", `"` + strings.Repeat("x", 101<<10) + `"`, 413, ""},
		{"application/x-www-form-urlencoded", "a=1&b=2&a=3", 200, `{"type":"object","body":{"a":["1","3"],"b":"2"}}`},
		{"application/octet-stream", "\x00\xff", 200, `{"type":"buffer","body":"00ff"}`},
		{"text/plain", "", 200, `{"type":"object","body":{}}`},
	} {
		resp, body := s.call(t, "POST", "/type", strings.NewReader(c.body), "Content-Type", c.kind)
		if resp.StatusCode != c.status || c.want != "" && string(body) != c.want {
			t.Errorf("%s %.20q: status %d and %.80q, want %d and %s", c.kind, c.body, resp.StatusCode, body, c.status, c.want)
		}
	}
	raw := f.serve(t, "RAW_BODY=true", "MAX_RAW_SIZE=1kb")
	if _, body := raw.call(t, "POST", "/type", strings.NewReader("{}"), "Content-Type", "application/json"); string(body) != `{"type":"buffer","body":"7b7d"}` {
		t.Errorf("RAW_BODY: got %s", body)
	}
	resp, body := raw.call(t, "POST", "/type", strings.NewReader(strings.Repeat("x", 1025)), "Content-Type", "text/plain")
	if resp.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(body), "MAX_RAW_SIZE") {
		t.Errorf("MAX_RAW_SIZE: status %d and %s", resp.StatusCode, body)
	}
}

func TestNodeAnswers(t *testing.T) {
	s := buildFunction(t, "node22").serve(t)
	for _, c := range []struct {
		path   string
		status int
		body   string
	}{
		{"/returns", 200, "returned"},
		{"/callback", 200, "called back"},
		{"/callbackfail", 500, "called back"},
		{"/later", 200, "later"},
		{"/reject", 500, "Error: the handler broke on purpose"},
		{"/failstatus", 422, "not today"},
		{"/failplain", 500, "not today"},
		{"/query?a=1&a=2&__proto__=3", 200, `{"a":["1","2"],"__proto__":"3"}`},
		{"/split", 500, "the function failed: its log says why\n"},
		{"/gone", 204, ""},
		{"/empty", 200, ""},
	} {
		if resp, body := s.call(t, "GET", c.path, nil); resp.StatusCode != c.status || string(body) != c.body {
			t.Errorf("%s: status %d and %q, want %d and %q", c.path, resp.StatusCode, body, c.status, c.body)
		}
	}
}

func TestClassicPython(t *testing.T) {
	f := buildFunction(t, "python3")
	run := func(in string, env ...string) (string, error) {
		cmd := f.cmd(env...)
		cmd.Stdin = strings.NewReader(in)
		out, err := cmd.Output()
		return string(out), err
	}
	if out, err := run("héllo"); out != "HÉLLO\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	if out, err := run("\xff\x00a"); out != "\xff\x00A\n" || err != nil {
		t.Errorf("bytes that are not text: got %q, %v", out, err)
	}
	if out, err := run("nothing"); out != "" || err != nil {
		t.Errorf("None: got %q, %v", out, err)
	}
	if _, err := run("x", "Http_Method=DELETE"); err == nil {
		t.Error("a handler that raises must end the process with an error")
	}
}

func TestBashStreams(t *testing.T) {
	cmd := buildFunction(t, "bash-streaming").cmd()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Each answer comes before the next line is sent.
	reader := bufio.NewReader(out)
	for _, line := range []string{"one", "two"} {
		if _, err := fmt.Fprintln(in, line); err != nil {
			t.Fatal(err)
		}
		if got, err := reader.ReadString('\n'); got != strings.ToUpper(line)+"\n" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}
