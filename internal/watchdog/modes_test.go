package watchdog_test

import (
	"strings"
	"testing"

	"lofn/internal/watchdog"
)

// TestModes is the contract of the fork modes, a case for each promise.
func TestModes(t *testing.T) {
	for _, c := range []struct {
		name   string
		env    []string
		script string
		method string
		body   string
		header []string

		status int
		want   string
		wantH  map[string]string
		log    string // is in the log
	}{
		{name: "streaming: output is the answer", env: []string{"mode=streaming"}, script: "cat", body: "hello",
			status: 200, want: "hello", wantH: map[string]string{"Content-Type": "application/octet-stream"}},
		{name: "streaming is the default", script: "cat", body: "x", status: 200, want: "x", log: "POST /a/b?c=d - 200 - ContentLength: 1B ("},
		{name: "streaming: content_type", env: []string{"content_type=text/csv"}, script: "echo a,b",
			status: 200, want: "a,b\n", wantH: map[string]string{"Content-Type": "text/csv"}},
		{name: "streaming: no output is an empty 200", script: "true", status: 200, want: ""},
		{name: "streaming: failure before output", script: "exit 3", status: 500, want: "exit status 3\n",
			wantH: map[string]string{"X-OpenFaaS-Internal": "", "Content-Type": "text/plain; charset=utf-8"}},
		{name: "streaming: failure after output", script: "echo some; exit 3", status: 200, want: "some\n",
			log: "failed after it began its answer: exit status 3"},
		{name: "streaming: deadline before output", env: []string{"exec_timeout=50ms"}, script: "sleep 100",
			status: 504, want: "Out of time: the function had 50ms (exec_timeout) and was stopped.\n",
			wantH: map[string]string{"X-OpenFaaS-Internal": "of-watchdog"}},
		{name: "streaming: X-Timeout shortens", env: []string{"exec_timeout=1h"}, script: "sleep 100", header: []string{"X-Timeout", "40ms"},
			status: 504, want: "Out of time: the function had 40ms (X-Timeout) and was stopped.\n"},
		{name: "streaming: X-Timeout does not lengthen", env: []string{"exec_timeout=50ms"}, script: "sleep 100", header: []string{"X-Timeout", "1h"},
			status: 504, want: "Out of time: the function had 50ms (exec_timeout) and was stopped.\n"},
		{name: "streaming: X-Timeout alone", env: []string{"exec_timeout=0"}, script: "sleep 100", header: []string{"X-Timeout", "40ms"},
			status: 504, want: "Out of time: the function had 40ms (X-Timeout) and was stopped.\n"},
		{name: "streaming: killed by a signal", script: "kill -SEGV $$", status: 500, want: "signal: segmentation fault\n"},
		{name: "streaming: stderr is logged", script: "echo oops >&2; echo fine", status: 200, want: "fine\n", log: "stderr: oops\n"},
		{name: "streaming: stdin unread", script: "echo done", body: strings.Repeat("x", 1<<20), status: 200, want: "done\n"},
		{name: "streaming: stdin closed early", script: "exec <&-; echo done", body: strings.Repeat("x", 1<<20), status: 200, want: "done\n"},

		{name: "serializing: output is the answer", env: []string{"mode=serializing"}, script: "cat", body: "hello",
			status: 200, want: "hello", wantH: map[string]string{"Content-Type": "application/octet-stream", "Content-Length": "5"}},
		{name: "serializing: failure", env: []string{"mode=serializing"}, script: "echo some; exit 7", status: 500, want: "exit status 7\n"},
		{name: "serializing: deadline", env: []string{"mode=serializing", "exec_timeout=50ms"}, script: "echo some; sleep 100",
			status: 500, want: "Out of time: the function had 50ms (exec_timeout) and was stopped.\n"},
		{name: "serializing: stderr is logged without prefix", env: []string{"mode=serializing", "prefix_logs=false"}, script: "echo oops >&2",
			status: 200, log: "oops\n"},

		{name: "classic: output is the answer", env: []string{"mode=classic"}, script: "cat", body: "hello", status: 200, want: "hello",
			log: "Forking fprocess.\n"},
		{name: "classic: log of the answer", env: []string{"mode=classic"}, script: "cat", body: "hello", status: 200, want: "hello",
			log: "Wrote 5 Bytes - Duration: 0."},
		{name: "classic: mirrors the content type", env: []string{"mode=classic"}, script: "cat", body: "{}", header: []string{"Content-Type", "application/json"},
			status: 200, want: "{}", wantH: map[string]string{"Content-Type": "application/json"}},
		{name: "classic: content_type wins", env: []string{"mode=classic", "content_type=text/html"}, script: "cat", header: []string{"Content-Type", "application/json"},
			status: 200, wantH: map[string]string{"Content-Type": "text/html"}},
		{name: "classic: failure", env: []string{"mode=classic"}, script: "echo some; exit 2", status: 500, want: "exit status 2\nsome\n"},
		{name: "classic: stderr is part of the answer, in order", env: []string{"mode=classic"}, script: "echo 1; echo 2 >&2; echo 3", status: 200, want: "1\n2\n3\n"},
		{name: "classic: combine_output=false", env: []string{"mode=classic", "combine_output=false"}, script: "echo out; echo err >&2",
			status: 200, want: "out\n", log: "stderr: err\n"},
		{name: "classic: deadline", env: []string{"mode=classic", "exec_timeout=50ms"}, script: "echo some; sleep 100", status: 408, want: "Killed process.\n"},
		{name: "classic: OPTIONS", env: []string{"mode=classic"}, script: "cat", method: "OPTIONS", status: 405},
		{name: "classic: DELETE", env: []string{"mode=classic"}, script: `printf %s "$Http_Method"`, method: "DELETE", status: 200, want: "DELETE"},
		{name: "classic: marshal_request", env: []string{"mode=classic", "marshal_request=true"}, script: "cat | sed 's/.*\"body\"/body/'", body: "hi\x00",
			status: 200, want: `body:{"raw":"aGkA"}}`},
		{name: "classic: marshal_request without body", env: []string{"mode=classic", "marshal_request=true"}, script: "cat | sed 's/.*\"body\"/body/'",
			status: 200, want: `body:{"raw":""}}`},
		{name: "classic: cgi_headers=false", env: []string{"mode=classic", "cgi_headers=false"}, script: "env | grep ^Http_ || echo none", status: 200, want: "none\n"},
		{name: "classic: write_debug", env: []string{"mode=classic", "write_debug=true"}, script: "cat >/dev/null; echo out", body: "given", status: 200, want: "out\n", log: "given\nout\n"},
		{name: "classic: debug_headers", env: []string{"mode=classic", "debug_headers=true"}, script: "cat", header: []string{"X-A", "b"}, status: 200, log: `[in] X-A=[b]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := append([]string{"fprocess=" + script(t, c.script)}, c.env...)
			server, _, log := serve(t, watchdog.Options{}, env...)
			if c.method == "" {
				c.method = "POST"
			}
			got := do(t, request(t, c.method, server.URL+"/a/b?c=d", c.body, c.header...))
			if got.StatusCode != c.status || got.body != c.want {
				t.Errorf("got %d %q, want %d %q", got.StatusCode, got.body, c.status, c.want)
			}
			for name, value := range c.wantH {
				if got.Header.Get(name) != value {
					t.Errorf("%s: got %q, want %q", name, got.Header.Get(name), value)
				}
			}
			if c.log != "" {
				eventually(t, c.log+" in the log", func() bool { return strings.Contains(log.String(), c.log) })
			}
			duration := got.Header.Get("X-Duration-Seconds") + got.Trailer.Get("X-Duration-Seconds")
			if c.status != 405 && len(duration) < len("0.000000") {
				t.Errorf("X-Duration-Seconds: %q", duration)
			}
		})
	}
}
