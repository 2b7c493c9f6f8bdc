package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// trial is one promise of the OpenFaaS watchdogs' contract.
type trial struct {
	name string
	env  []string
	// script is a shell script for the fork modes; without one, the function
	// that speaks HTTP is the process.
	script string
	method string // POST if empty
	path   string // /a/b?c=d if empty
	header []string
	body   string

	want expected
	// differs is what the peer does, where fwatchdog does something else on
	// purpose, and because says why.
	differs *expected
	because string
}

// expected is an answer. Strings that begin with ~ are regular expressions;
// empty ones are not looked at, except body: there "~" is not looked at.
type expected struct {
	status                int
	body                  string
	contentType, internal string
	header                string // "Name: value", or "Name:" for a header that must not be there
	log, unlogged         string
	broken                bool // the answer breaks off
}

func (e expected) check(t *testing.T, a answer, log func() string) {
	t.Helper()
	if a.StatusCode != e.status || !agrees(e.body, a.body) && e.body != "~" {
		t.Errorf("got %d %q (%v), want %d %q", a.StatusCode, a.body, a.err, e.status, e.body)
	}
	if broken := a.err != nil; broken != e.broken {
		t.Errorf("broken off: %v (%v), want %v", broken, a.err, e.broken)
	}
	for name, want := range map[string]string{"Content-Type": e.contentType, "X-OpenFaaS-Internal": e.internal} {
		if got := a.Header.Get(name); want != "" && !agrees(want, got) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if name, want, ok := strings.Cut(e.header, ":"); ok {
		if got := strings.Join(a.Header.Values(name), ", "); !agrees(strings.TrimSpace(want), got) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if e.log != "" {
		eventually(t, e.log+" in the log", func() bool { return regexp.MustCompile("(?m)" + e.log).MatchString(log()) })
	}
	if e.unlogged != "" && regexp.MustCompile(e.unlogged).MatchString(log()) {
		t.Errorf("%s is in the log", e.unlogged)
	}
}

func agrees(want, got string) bool {
	if pattern, ok := strings.CutPrefix(want, "~"); ok {
		return regexp.MustCompile("(?s)^(?:" + pattern + ")$").MatchString(got)
	}
	return want == got
}

// peersFromEnvironment are the programs to hold the table against, if
// variables name them.
func peersFromEnvironment(t *testing.T, name, variable string) []peer {
	t.Helper()
	all := []peer{{name: "fwatchdog"}}
	if name == "of-watchdog" {
		all = append(all, peer{name: "fwatchdog by net-http", longWay: true})
	}
	path := os.Getenv(variable)
	if path == "" {
		t.Logf("%s names no program: the table runs against fwatchdog only", variable)
		return all
	}
	if conn, err := net.Dial("tcp", metricsOfPeers); err == nil {
		_ = conn.Close()
		t.Skipf("%s is taken, and %s needs it", metricsOfPeers, name)
	}
	return append(all, peer{name: name, path: path})
}

func runTable(t *testing.T, table []trial, peers []peer) {
	for _, p := range peers {
		for _, c := range table {
			t.Run(p.name+"/"+c.name, func(t *testing.T) {
				if p.ours() {
					t.Parallel() // peers cannot: all of them want the same port for metrics
				}
				c.run(t, p)
			})
		}
	}
}

func (c trial) run(t *testing.T, p peer) {
	want := c.want
	if !p.ours() && c.differs != nil {
		want = *c.differs
		t.Logf("differs, because %s", c.because)
	}
	env := append([]string{"fprocess=" + os.Args[0]}, c.env...)
	if c.script != "" {
		file := filepath.Join(t.TempDir(), "handler")
		if err := os.WriteFile(file, []byte(c.script+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		env[0] = "fprocess=sh " + file
	} else {
		env = append([]string{"mode=http", "upstream_url=http://$UPSTREAM", "ready_timeout=10s"}, env...)
	}
	d := start(t, p, env...)
	if c.script == "" && !strings.Contains(strings.Join(c.env, " "), "function_") {
		d.waitLog(t, "the function listens")
	}
	if c.method == "" {
		c.method = "POST"
	}
	if c.path == "" {
		c.path = "/a/b?c=d"
	}
	if p.longWay {
		c.header = append([]string{"Proxy-Authorization", "not for the function"}, c.header...)
	}
	a := do(t, request(t, c.method, d.url+c.path, c.body, c.header...))
	want.check(t, a, d.log.String)
}

func TestForkModesOfOfWatchdog(t *testing.T) {
	streaming, serializing := "mode=streaming", "mode=serializing"
	variables := func(names string) string { return `env | grep -E '^(` + names + `)=' | sort` }
	runTable(t, []trial{
		{name: "streaming", env: []string{streaming}, script: "cat", body: "hello",
			want: expected{status: 200, body: "hello", contentType: "application/octet-stream", log: `POST /a/b\?c=d - 200 - ContentLength: 5B \(0\.\d{4}s\)$`}},
		{name: "default mode", env: []string{"prefix_logs=true"}, script: "cat", body: "x", want: expected{status: 200, body: "x", contentType: "application/octet-stream"}},
		{name: "function_process wins", env: []string{streaming, "function_process=echo this"}, script: "echo that", want: expected{status: 200, body: "this\n"}},
		{name: "content type", env: []string{streaming, "content_type=text/csv"}, script: "echo a", want: expected{status: 200, body: "a\n", contentType: "text/csv"}},
		{name: "size in the log", env: []string{streaming}, script: "head -c 1234567 /dev/zero", want: expected{status: 200, body: "~", log: `ContentLength: 1.235MB \(`}},
		{name: "no probe in the log", env: []string{streaming}, script: "echo ran >&2", header: []string{"User-Agent", "kube-probe/1.2"},
			want: expected{status: 200, body: "~.*", log: `stderr: ran$`, unlogged: `POST /a/b`}},
		{name: "environment", env: []string{streaming, "MINE=kept"}, script: variables("MINE|Http_Method|Http_Path|Http_Query|Http_X_Some_Thing"), header: []string{"X-Some-Thing", "first", "X-Some-Thing", "second"},
			want: expected{status: 200, body: "Http_Method=POST\nHttp_Path=/a/b\nHttp_Query=c=d\nHttp_X_Some_Thing=first\nMINE=kept\n"}},
		{name: "environment without query", env: []string{streaming}, path: "/", method: "GET", script: variables("Http_Method|Http_Path|Http_Query"),
			want: expected{status: 200, body: "Http_Method=GET\nHttp_Path=/\n"}},
		{name: "environment with host", env: []string{streaming}, script: variables("Http_Host|Http_Content_Length"), body: "12345", header: []string{"Host", "example.org"},
			want:    expected{status: 200, body: "Http_Content_Length=5\nHttp_Host=example.org\n"},
			differs: &expected{status: 200, body: "Http_Content_Length=5\n"}, because: "the Host header is dropped (P26); all fork modes have the variables of the classic watchdog"},
		{name: "httpoxy", env: []string{streaming}, script: variables("Http_Proxy"), header: []string{"Proxy", "http://evil"},
			want: expected{status: 200}, differs: &expected{status: 200, body: "Http_Proxy=http://evil\n"}, because: "programs take it for their proxy setting"},
		{name: "stderr", env: []string{streaming}, script: "echo oops >&2", want: expected{status: 200, log: `\d\d:\d\d:\d\d stderr: oops$`}},
		{name: "stderr without prefix", env: []string{streaming, "prefix_logs=false"}, script: "echo oops >&2", want: expected{status: 200, log: `^oops$`}},
		{name: "long line in the log", env: []string{streaming}, script: "head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2; echo after >&2; echo done",
			want: expected{status: 200, body: "done\n", log: `stderr: x{1000}.*\n.* stderr: after$`},
			// The peer stops reading; what the process does then depends on how much fits in the pipe.
			differs: &expected{status: 200, body: "~.*", log: `Error reading stderr: bufio.Scanner: token too long`}, because: "no line wedges the function (P17)"},
		{name: "failure after output", env: []string{streaming}, script: "echo some; exit 3", want: expected{status: 200, body: "some\n", log: `exit status 3$`}},
		{name: "failure before output", env: []string{streaming}, script: "exit 3", want: expected{status: 500, body: "exit status 3\n"},
			differs: &expected{status: 200}, because: "an empty 200 hides the failure"},
		{name: "deadline before output", env: []string{streaming, "exec_timeout=100ms"}, script: "exec sleep 60",
			want:    expected{status: 504, body: "Out of time: the function had 100ms (exec_timeout) and was stopped.\n", internal: "of-watchdog"},
			differs: &expected{status: 200}, because: "an empty 200 hides the failure, and nobody learns which time ran out (P12)"},
		{name: "deadline after output", env: []string{streaming, "exec_timeout=100ms"}, script: "echo some; exec sleep 60", want: expected{status: 200, body: "some\n", broken: true},
			differs: &expected{status: 200, body: "some\n"}, because: "half an answer must not pass for a whole one"},
		{name: "unknown program", env: []string{streaming, "function_process=no-such-program"}, script: "true", want: expected{status: 500, body: "~.*no-such-program.*", internal: "of-watchdog"},
			differs: &expected{status: 200}, because: "an empty 200 hides the failure"},
		{name: "body unread", env: []string{streaming}, script: "echo done", body: strings.Repeat("x", 1<<20), want: expected{status: 200, body: "done\n"}},

		{name: "serializing", env: []string{serializing}, script: "cat", body: "hello",
			want: expected{status: 200, body: "hello", contentType: "application/octet-stream", header: "X-Duration-Seconds: ~0\\.\\d{6}", log: `POST /a/b\?c=d - 200 - ContentLength: 5B`}},
		{name: "serializing failure", env: []string{serializing}, script: "echo some; exit 7",
			want:    expected{status: 500, body: "exit status 7\n", header: "X-Duration-Seconds: ~0\\.\\d{6}", log: `- 500 - `},
			differs: &expected{status: 500, body: "exit status 7", log: `- 200 - `}, because: "an error is a line of text, and the log tells the status that was sent"},
		{name: "serializing deadline", env: []string{serializing, "exec_timeout=100ms"}, script: "exec sleep 60", want: expected{status: 500, body: "Out of time: the function had 100ms (exec_timeout) and was stopped.\n"},
			differs: &expected{status: 500, body: "signal: killed"}, because: "it says which time ran out and how much it was (P12)"},
		{name: "serializing children killed at the deadline", env: []string{serializing, "exec_timeout=100ms"}, script: "sleep 2; echo late",
			want:    expected{status: 500, body: "~Out of time.*", header: "X-Duration-Seconds: ~0\\..*"},
			differs: &expected{status: 500, body: "signal: killed", header: "X-Duration-Seconds: ~2\\..*"}, because: "the process group is killed, not its leader only (P22)"},
		{name: "serializing empty", env: []string{serializing}, script: "true", want: expected{status: 200, contentType: "application/octet-stream"}},
	}, peersFromEnvironment(t, "of-watchdog", "LOFN_PEER_OF_WATCHDOG"))
}

func TestHTTPModeOfOfWatchdog(t *testing.T) {
	runTable(t, []trial{
		{name: "the request as it came", path: "/dump/a%2Fb?c=d&e", method: "PUT", body: "body", header: []string{"Host", "example.org", "X-Some", "one", "X-Some", "two", "Accept-Encoding", "br", "X-Forwarded-For", "10.0.0.1"},
			want: expected{status: 200, body: "PUT /dump/a%2Fb?c=d&e\nHost: example.org\nAccept-Encoding: br\nContent-Length: 4\nUser-Agent: test\nX-Forwarded-For: 10.0.0.1\nX-Some: one\nX-Some: two\n\nbody",
				header: "X-Duration-Seconds: ~0\\.\\d{6}", contentType: "text/plain; charset=utf-8", log: `PUT /dump/a%2Fb\?c=d&e - 200 OK - ContentLength: 150B \(0\.\d{4}s\)$`},
			differs: &expected{status: 200, body: "PUT /dump/a%2Fb?c=d&e\nHost: example.org\nAccept-Encoding: br\nUser-Agent: test\nX-Forwarded-For: 10.0.0.1\nX-Some: one\nX-Some: two\n\nbody",
				log: `PUT /dump/a%2Fb\?c=d&e - 200 OK - ContentLength: 132B \(`}, because: "a known length stays known; some servers cannot read chunks"},
		{name: "status and headers", path: "/status/418", want: expected{status: 418, body: "status 418", header: "X-Mine: 1, 2", log: `- 418 I'm a teapot - ContentLength: 10B \(`}},
		{name: "no content", path: "/status/204", want: expected{status: 204}},
		{name: "redirect", path: "/redirect", method: "GET", want: expected{status: 302, body: "~.*", header: "Location: /elsewhere"}},
		{name: "head", path: "/zeros/1000", method: "HEAD", want: expected{status: 200, header: "Content-Length: 1000"}},
		{name: "any method", path: "/dump", method: "PROPFIND", want: expected{status: 200, body: "~PROPFIND /dump\n.*"}},
		{name: "no user agent", path: "/dump", method: "GET", header: []string{"User-Agent", ""}, want: expected{status: 200, body: "~GET /dump\nHost: [0-9.:]*\n\n\n"},
			differs: &expected{status: 200, body: "~GET /dump\nHost: [0-9.:]*\n.*User-Agent: Go-http-client/1.1\n\n"}, because: "nothing is added to a request"},
		{name: "double slash", path: "//dump//x", method: "GET", want: expected{status: 200, body: "ok"},
			differs: &expected{status: 307, body: "~.*"}, because: "the path is the function's to interpret"},
		{name: "call id in the log", env: []string{"log_callid=true"}, header: []string{"X-Call-Id", "42"}, want: expected{status: 200, body: "ok", log: `- 200 OK - ContentLength: 2B \(0\.\d{4}s\) \[42\]$`}},
		{name: "no call id in the log", env: []string{"log_callid=true"}, want: expected{status: 200, body: "ok", log: `\[none\]$`}},
		{name: "chunked answer", path: "/lines", want: expected{status: 200, body: "0\n1\n2\n"}},
		{name: "trailer", path: "/trailer", want: expected{status: 200, body: "body", header: "Trailer:"}},
		{name: "large answer", path: "/zeros/3000000", want: expected{status: 200, body: "~", header: "Content-Length: 3000000", log: `ContentLength: 3MB`}},
		{name: "body buffered", env: []string{"http_buffer_req_body=1"}, path: "/length", body: "12345", want: expected{status: 200, body: "5 bytes, Content-Length 5, encoding []"},
			differs: &expected{status: 200, body: "5 bytes, Content-Length -1, encoding [chunked]"}, because: "buffering is for servers that cannot read chunks, so the length must be told"},
		{name: "large body", path: "/length", body: strings.Repeat("x", 3_000_000), want: expected{status: 200, body: "3000000 bytes, Content-Length 3000000, encoding []"},
			differs: &expected{status: 200, body: "3000000 bytes, Content-Length -1, encoding [chunked]"}, because: "a known length stays known"},
		{name: "stdout and stderr", path: "/log/5", want: expected{status: 200, log: `\d\d:\d\d:\d\d stdout: xxxxx$`}},
		{name: "stderr", path: "/log/5", want: expected{status: 200, log: `\d\d:\d\d:\d\d stderr: after$`}},
		{name: "long line", path: "/log/100000", want: expected{status: 200, log: `stdout: x{1000}.*$`},
			differs: &expected{status: 200, log: `Error reading stdout: bufio.Scanner: token too long`}, because: "no line wedges the function (P17)"},
		{name: "deadline", env: []string{"exec_timeout=100ms"}, path: "/hang", want: expected{status: 504, internal: "of-watchdog", header: "X-Duration-Seconds: ~0\\..*"}},
		{name: "X-Timeout shortens", path: "/hang", header: []string{"X-Timeout", "100ms"}, want: expected{status: 504, internal: "of-watchdog"}},
		{name: "X-Timeout does not lengthen", env: []string{"exec_timeout=100ms"}, path: "/hang", header: []string{"X-Timeout", "1h"}, want: expected{status: 504}},
		{name: "deadline after output", env: []string{"exec_timeout=200ms"}, path: "/part", want: expected{status: 200, body: "some", broken: true},
			differs: &expected{status: 200, body: "some"}, because: "half an answer must not pass for a whole one"},
		{name: "write_timeout below exec_timeout", env: []string{"write_timeout=100ms", "exec_timeout=300ms"}, path: "/hang", want: expected{status: 504},
			differs: &expected{broken: true}, because: "the call has one deadline, exec_timeout (P12)"},
		{name: "read_timeout below exec_timeout", env: []string{"read_timeout=100ms", "exec_timeout=300ms"}, path: "/hang", want: expected{status: 504, header: "X-Duration-Seconds: ~0\\.[3-9].*"}},
		{name: "the function breaks off", path: "/drop", want: expected{status: 500, internal: "of-watchdog"}},
		{name: "nobody listens", env: []string{"function_deaf=1", "ready_timeout=100ms"}, want: expected{status: 500, internal: "of-watchdog"}},
		{name: "the function starts late", env: []string{"function_pause=300ms"}, path: "/late", want: expected{status: 200, body: "ok"},
			differs: &expected{status: 500, internal: "of-watchdog"}, because: "the first calls wait for the function to listen, until ready_timeout after its start"},
		{name: "events outlive exec_timeout", env: []string{"exec_timeout=200ms"}, path: "/events", method: "GET", header: []string{"Accept", "text/event-stream"},
			want: expected{status: 200, body: "data: 0\n\ndata: 1\n\ndata: 2\n\n", contentType: "text/event-stream"}},
		{name: "events outlive write_timeout", env: []string{"write_timeout=200ms"}, path: "/events", method: "GET", header: []string{"Accept", "text/event-stream"},
			want:    expected{status: 200, body: "data: 0\n\ndata: 1\n\ndata: 2\n\n"},
			differs: &expected{status: 200, body: "~data: 0.*", broken: true}, because: "streams are not cut by a time that is not theirs (P14, P15)"},
		{name: "too many", env: []string{"max_inflight=0"}, want: expected{status: 200, body: "ok"}},
	}, peersFromEnvironment(t, "of-watchdog", "LOFN_PEER_OF_WATCHDOG"))
}

func TestClassicWatchdog(t *testing.T) {
	variables := `env | grep -E '^Http_(Method|Path|Query|Host|ContentLength|Content_Length|X_A)=' | sort`
	runTable(t, []trial{
		{name: "cat", script: "cat", body: "hello", want: expected{status: 200, body: "hello", header: "X-Duration-Seconds: ~0\\.\\d{6}", log: `\d\d:\d\d:\d\d Forking fprocess\.$`}},
		{name: "log", script: "cat", body: "hello", want: expected{status: 200, body: "hello", log: `\d\d:\d\d:\d\d Wrote 5 Bytes - Duration: 0\.\d{6}s$`}},
		{name: "mirrored content type", script: "cat", body: "{}", header: []string{"Content-Type", "application/json"}, want: expected{status: 200, body: "{}", contentType: "application/json"}},
		{name: "content_type", env: []string{"content_type=text/html"}, script: "cat", header: []string{"Content-Type", "application/json"}, want: expected{status: 200, contentType: "text/html"}},
		{name: "environment", script: variables, header: []string{"Host", "example.org", "X-A", "b"}, body: "12345",
			want: expected{status: 200, body: "Http_ContentLength=5\nHttp_Content_Length=5\nHttp_Host=example.org\nHttp_Method=POST\nHttp_Path=/a/b\nHttp_Query=c=d\nHttp_X_A=b\n"}},
		{name: "cgi_headers", env: []string{"cgi_headers=no"}, script: variables + "; echo none", want: expected{status: 200, body: "none\n"}},
		{name: "stderr in the answer", script: "echo 1; echo 2 >&2; echo 3", want: expected{status: 200, body: "1\n2\n3\n"}},
		{name: "combine_output", env: []string{"combine_output=false"}, script: "echo out; echo err >&2", want: expected{status: 200, body: "out\n", log: `\d\d:\d\d:\d\d stderr: err$`}},
		{name: "failure", script: "echo some; exit 2", header: []string{"Content-Type", "application/json"}, want: expected{status: 500, body: "exit status 2\nsome\n", contentType: "text/plain; charset=utf-8"}},
		{name: "unknown program", env: []string{"fprocess=no-such-program"}, script: "true",
			want:    expected{status: 500, body: "~The function's process \"no-such-program\" could not be started: .*not found.*"},
			differs: &expected{status: 500, body: "~exec: .*not found.*"}, because: "the answer says what it was that could not be started"},
		{name: "deadline", env: []string{"exec_timeout=100ms"}, script: "echo some; exec sleep 60", want: expected{status: 408, body: "Killed process.\n", internal: "", contentType: "text/plain; charset=utf-8"}},
		{name: "children killed at the deadline", env: []string{"exec_timeout=100ms"}, script: "sleep 1 & wait", want: expected{status: 408, body: "Killed process.\n"}},
		{name: "write_timeout below the time that it takes", env: []string{"write_timeout=100ms"}, script: "sleep 0.3; echo done", want: expected{status: 200, body: "done\n"},
			differs: &expected{broken: true}, because: "a call has one deadline, exec_timeout (P12): here it has none"},
		{name: "marshal_request", env: []string{"marshal_request=true"}, script: "sed 's/.*\"body\"/body/'", body: "hi\x00", want: expected{status: 200, body: `body:{"raw":"aGkA"}}`}},
		{name: "write_debug", env: []string{"write_debug=true"}, script: "cat; echo out", body: "given\n", want: expected{status: 200, body: "given\nout\n", log: `^out$`}},
		{name: "debug_headers", env: []string{"debug_headers=true"}, script: "cat", header: []string{"X-A", "b"}, want: expected{status: 200, log: `\[in\] X-A=\[b\]$`}},
		{name: "OPTIONS", script: "cat", method: "OPTIONS", want: expected{status: 405}},
		{name: "HEAD", script: "cat", method: "HEAD", want: expected{status: 405}},
		{name: "DELETE", script: variables, method: "DELETE", want: expected{status: 200, body: "~.*Http_Method=DELETE\n.*"}},
		{name: "httpoxy", script: "env | grep Http_Proxy; true", header: []string{"Proxy", "http://evil"}, want: expected{status: 200},
			differs: &expected{status: 200, body: "Http_Proxy=http://evil\n"}, because: "programs take it for their proxy setting"},
		{name: "ready is the function's", script: "echo mine", method: "GET", path: "/_/ready", want: expected{status: 200, body: "mine\n"}},
	}, peersFromEnvironment(t, "classic-watchdog", "LOFN_PEER_CLASSIC_WATCHDOG"))
}

// TestProbesOfBoth is about paths that the watchdog answers itself.
func TestProbesOfBoth(t *testing.T) {
	ready := `test "$Http_Path" = /mine && echo ready && exit; echo called`
	table := []trial{
		{name: "health", script: "cat", method: "GET", path: "/_/health", want: expected{status: 200, body: "OK"}},
		{name: "health by POST", script: "cat", path: "/_/health", want: expected{status: 405}},
		{name: "health by HEAD", script: "cat", method: "HEAD", path: "/_/health", want: expected{status: 405}},
		{name: "health without lock", env: []string{"suppress_lock=true"}, script: "cat", method: "GET", path: "/_/health", want: expected{status: 503, log: `Warning: "suppress_lock" is enabled. No automated health-checks will be in place for your function\.$`}},
		{name: "below health", script: "echo mine", method: "GET", path: "/_/health/x", want: expected{status: 200, body: "mine\n"}},
	}
	runTable(t, table, peersFromEnvironment(t, "classic-watchdog", "LOFN_PEER_CLASSIC_WATCHDOG"))
	table = append(table,
		trial{name: "ready", script: "cat", method: "GET", path: "/_/ready", want: expected{status: 200}},
		trial{name: "ready by POST", script: "cat", path: "/_/ready", want: expected{status: 405}},
		trial{name: "ready without lock", env: []string{"suppress_lock=true"}, script: "cat", method: "GET", path: "/_/ready", want: expected{status: 503}},
		trial{name: "ready_path", env: []string{"ready_path=/mine"}, script: ready, method: "GET", path: "/_/ready", want: expected{status: 200, body: "ready\n"}},
		trial{name: "ready_path in mode http", env: []string{"ready_path=/status/202"}, method: "GET", path: "/_/ready", want: expected{status: 202, body: "status 202"}},
	)
	for i := range table {
		if table[i].script != "" {
			table[i].env = append(table[i].env, "mode=streaming")
		}
	}
	runTable(t, table, peersFromEnvironment(t, "of-watchdog", "LOFN_PEER_OF_WATCHDOG"))
}
