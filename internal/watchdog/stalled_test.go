package watchdog_test

import (
	"io"
	"net/http"
	"testing"
)

// stalls are requests whose bodies do not come.
var stalls = map[string]string{
	"nothing of the chunks": "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
	"half a chunk":          "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nbody",
	"one chunk":             "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
	"no end of the chunks":  "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n",
	"a length":              "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbody",
	"a length, asked for":   "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n",
}

// stalled makes a call whose body does not come, and returns its answer, which
// is the last thing on its connection.
func stalled(t *testing.T, address, request string) *http.Response {
	t.Helper()
	conn, answers := dial(t, address)
	_, _ = io.WriteString(conn, request)
	response, err := http.ReadResponse(answers, nil)
	for err == nil && response.StatusCode == http.StatusContinue {
		response, err = http.ReadResponse(answers, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(response.Body); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(answers); len(rest) > 0 || err != nil || !response.Close {
		t.Errorf("after the answer: %q, %v; said to be the last: %v", rest, err, response.Close)
	}
	return response
}

// The answer to a call whose time is out does not wait for a client that
// stalls, whatever the function does with the body.
func TestStalledUploadIsAnsweredAtTheDeadline(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	functions := map[string]http.HandlerFunc{
		"reads":   func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) },
		"ignores": func(http.ResponseWriter, *http.Request) { <-release },
	}
	for name, handle := range functions {
		url := upstream(t, handle)
		for _, buffer := range []string{"false", "true"} {
			address, _, w := doors(t, url, "exec_timeout=50ms", "http_buffer_req_body="+buffer)
			for kind, request := range stalls {
				if got := stalled(t, address, request); got.StatusCode != http.StatusGatewayTimeout {
					t.Errorf("%s, function %s, buffered %s: got %d", kind, name, buffer, got.StatusCode)
				}
				eventually(t, "the end of the call", func() bool { return w.Inflight() == 0 })
			}
		}
	}
}

// Nor does the refusal of a call.
func TestStalledUploadIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	url := upstream(t, func(http.ResponseWriter, *http.Request) { close(arrived); <-release })
	address, _, _ := doors(t, url, "max_inflight=1")
	conn, first := dial(t, address)
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-arrived
	for kind, request := range stalls {
		if got := stalled(t, address, request); got.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%s: got %d", kind, got.StatusCode)
		}
	}
	close(release)
	if status, _ := read(t, first, "GET"); status != http.StatusOK {
		t.Errorf("the call that was there first: got %d", status)
	}
}
