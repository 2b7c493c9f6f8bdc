package http1_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"lofn/internal/http1"
)

const plain = "POST /function/echo/a%20b?x=1 HTTP/1.1\r\nHost: example.org:8080\r\nContent-Length: 4\r\nX-A:  two words \r\nX-Empty:\r\nConnection: keep-alive\r\n\r\nbody"

func TestAPlainRequest(t *testing.T) {
	var r http1.Request
	n, err := r.Parse([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	if plain[n:] != "body" || string(r.Method) != "POST" || string(r.Target) != "/function/echo/a%20b?x=1" ||
		string(r.Host) != "example.org:8080" || r.ContentLength != 4 || !r.KeepAlive {
		t.Errorf("parsed %d bytes as %+v", n, r)
	}
	for i, want := range []string{"Host=example.org:8080", "Content-Length=4", "X-A=two words", "X-Empty=", "Connection=keep-alive"} {
		if got := string(r.Headers[i].Name) + "=" + string(r.Headers[i].Value); got != want {
			t.Errorf("header %d is %q, want %q", i, got, want)
		}
	}
}

func TestEveryBeginningIsIncomplete(t *testing.T) {
	head := plain[:strings.Index(plain, "body")]
	for i := range len(head) {
		var r http1.Request
		if _, err := r.Parse([]byte(head[:i])); !errors.Is(err, http1.ErrIncomplete) {
			t.Fatalf("%q: %v, want incomplete", head[:i], err)
		}
	}
}

func TestUnusualRequests(t *testing.T) {
	const host = "Host: x\r\n"
	for name, head := range map[string]string{
		"bare LF":                "GET / HTTP/1.1\nHost: x\n\n",
		"bare LF in headers":     "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
		"leading empty line":     "\r\nGET / HTTP/1.1\r\n" + host + "\r\n",
		"HTTP/1.0":               "GET / HTTP/1.0\r\n" + host + "\r\n",
		"HTTP/2 preface":         "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"absolute form":          "GET http://x/ HTTP/1.1\r\n" + host + "\r\n",
		"asterisk form":          "OPTIONS * HTTP/1.1\r\n" + host + "\r\n",
		"authority form":         "CONNECT x:1 HTTP/1.1\r\n" + host + "\r\n",
		"unknown method":         "BREW / HTTP/1.1\r\n" + host + "\r\n",
		"lower-case method":      "get / HTTP/1.1\r\n" + host + "\r\n",
		"two spaces":             "GET  / HTTP/1.1\r\n" + host + "\r\n",
		"space in path":          "GET /a b HTTP/1.1\r\n" + host + "\r\n",
		"tab":                    "GET\t/ HTTP/1.1\r\n" + host + "\r\n",
		"bad escape":             "GET /%zz HTTP/1.1\r\n" + host + "\r\n",
		"cut escape":             "GET /%2 HTTP/1.1\r\n" + host + "\r\n",
		"fragment":               "GET /#a HTTP/1.1\r\n" + host + "\r\n",
		"backslash":              "GET /\\a HTTP/1.1\r\n" + host + "\r\n",
		"beyond ASCII in path":   "GET /é HTTP/1.1\r\n" + host + "\r\n",
		"no host":                "GET / HTTP/1.1\r\nA: b\r\n\r\n",
		"two hosts":              "GET / HTTP/1.1\r\n" + host + host + "\r\n",
		"empty host":             "GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"user in host":           "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
		"space before colon":     "GET / HTTP/1.1\r\n" + host + "A : b\r\n\r\n",
		"no colon":               "GET / HTTP/1.1\r\n" + host + "A\r\n\r\n",
		"empty name":             "GET / HTTP/1.1\r\n" + host + ": b\r\n\r\n",
		"folded":                 "GET / HTTP/1.1\r\n" + host + "A: b\r\n c\r\n\r\n",
		"NUL in value":           "GET / HTTP/1.1\r\n" + host + "A: b\x00c\r\n\r\n",
		"CR in value":            "GET / HTTP/1.1\r\n" + host + "A: b\rc\r\n\r\n",
		"DEL in value":           "GET / HTTP/1.1\r\n" + host + "A: b\x7fc\r\n\r\n",
		"chunked":                "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n",
		"chunked and length":     "POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
		"two lengths":            "POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
		"list of lengths":        "POST / HTTP/1.1\r\n" + host + "Content-Length: 1, 1\r\n\r\n",
		"signed length":          "POST / HTTP/1.1\r\n" + host + "Content-Length: +1\r\n\r\n",
		"negative length":        "POST / HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n",
		"leading zeros":          "POST / HTTP/1.1\r\n" + host + "Content-Length: 01\r\n\r\n",
		"hexadecimal length":     "POST / HTTP/1.1\r\n" + host + "Content-Length: 0x1\r\n\r\n",
		"empty length":           "POST / HTTP/1.1\r\n" + host + "Content-Length:\r\n\r\n",
		"huge length":            "POST / HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\n",
		"upgrade":                "GET / HTTP/1.1\r\n" + host + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"expect":                 "POST / HTTP/1.1\r\n" + host + "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n",
		"named hop-by-hop":       "GET / HTTP/1.1\r\n" + host + "Connection: X-Secret\r\nX-Secret: 1\r\n\r\n",
		"trailers":               "GET / HTTP/1.1\r\n" + host + "TE: trailers\r\n\r\n",
		"more headers than many": "GET / HTTP/1.1\r\n" + host + strings.Repeat("A: b\r\n", 64) + "\r\n",
	} {
		var r http1.Request
		if _, err := r.Parse([]byte(head)); !errors.Is(err, http1.ErrUnusual) {
			t.Errorf("%s: %v, want unusual", name, err)
		}
	}
}

func TestResponses(t *testing.T) {
	for head, want := range map[string]error{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n":                                nil,
		"HTTP/1.1 500\r\nContent-Length: 2\r\n\r\n":                                   nil,
		"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n":    nil,
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n":                                    http1.ErrIncomplete,
		"HTTP/1.1 200 OK\r\n\r\n":                                                     http1.ErrUnusual,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n":                       nil,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n":                 http1.ErrUnusual,
		"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n":               http1.ErrUnusual,
		"HTTP/1.1 204 No Content\r\n\r\n":                                             nil,
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n":  http1.ErrUnusual,
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n":           http1.ErrUnusual,
		"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n":                                http1.ErrUnusual,
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n":                      http1.ErrUnusual,
		"HTTP/1.1 103 Early Hints\r\n\r\n":                                            http1.ErrUnusual,
		"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n":                        http1.ErrUnusual,
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n":                      nil,
		"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n":                               http1.ErrUnusual,
		"HTTP/1.1 20x OK\r\nContent-Length: 2\r\n\r\n":                                http1.ErrUnusual,
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTrailer: X\r\n\r\n":                  http1.ErrUnusual,
		"ICY 200 OK\r\nContent-Length: 2\r\n\r\n":                                     http1.ErrUnusual,
		"HTTP/1.1 200 O\x00K\r\nContent-Length: 2\r\n\r\n":                            http1.ErrUnusual,
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, x\r\n\r\n":   http1.ErrUnusual,
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=5\r\n\r\nremain": nil,
	} {
		var r http1.Response
		n, err := r.Parse([]byte(head))
		if !errors.Is(err, want) && err != want {
			t.Errorf("%q: %v, want %v", head, err, want)
		}
		if err == nil && !strings.HasSuffix(head[:n], "\r\n\r\n") {
			t.Errorf("%q: the head ends at %d", head, n)
		}
	}
}

func TestTheEndOfAResponse(t *testing.T) {
	for head, want := range map[string]http1.Body{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n":                 http1.Sized,
		"HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n":        http1.Chunked,
		"HTTP/1.1 204 No Content\r\n\r\n":                              http1.Bodyless,
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n":       http1.Bodyless,
		"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n": http1.Chunked,
	} {
		var r http1.Response
		if _, err := r.Parse([]byte(head)); err != nil || r.Body != want {
			t.Errorf("%q: got %d (%v), want %d", head, r.Body, err, want)
		}
	}
}

// FuzzRequest holds Parse to net/http: what the one accepts, the other reads
// in the same way.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(plain))
	f.Add([]byte("GET /function/x HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\n"))
	f.Add([]byte("DELETE / HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\nA: \xff\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r http1.Request
		n, err := r.Parse(data)
		if err != nil {
			return
		}
		buffered := bufio.NewReader(bytes.NewReader(data))
		std, err := http.ReadRequest(buffered)
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", data[:n], err)
		}
		if std.Method != string(r.Method) || std.RequestURI != string(r.Target) || std.Host != string(r.Host) ||
			std.ContentLength != r.ContentLength || std.Close == r.KeepAlive || len(std.TransferEncoding) > 0 {
			t.Fatalf("net/http reads %+v, http1 %+v", std, r)
		}
		std.Header.Add("Host", std.Host) // net/http moves it out
		if got := collect(r.Headers); !maps.EqualFunc(got, std.Header, slices.Equal) {
			t.Fatalf("net/http sees the headers %q, http1 %q", std.Header, got)
		}
		if rest, _ := io.ReadAll(buffered); std.ContentLength <= 0 && string(rest) != string(data[n:]) {
			t.Fatalf("net/http leaves %q, http1 %q", rest, data[n:])
		}
	})
}

// collect returns headers as net/http has them, which reads one thing into
// requests and answers of old.
func collect(headers []http1.Header) http.Header {
	collected := make(http.Header)
	for _, h := range headers {
		collected.Add(string(h.Name), string(h.Value))
	}
	if _, cached := collected["Cache-Control"]; !cached && collected.Get("Pragma") == "no-cache" {
		collected["Cache-Control"] = []string{"no-cache"}
	}
	return collected
}

// bodyOf is how net/http tells the end of a response.
func bodyOf(r *http.Response) http1.Body {
	switch {
	case r.StatusCode == http.StatusNoContent || r.StatusCode == http.StatusNotModified:
		return http1.Bodyless
	case slices.Equal(r.TransferEncoding, []string{"chunked"}):
		return http1.Chunked
	}
	return http1.Sized
}

// FuzzResponse is FuzzRequest for responses.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\n\r\nok"))
	f.Add([]byte("HTTP/1.1 404 Not Found\r\nConnection: close\r\ncontent-length: 0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r http1.Response
		n, err := r.Parse(data)
		if err != nil {
			return
		}
		std, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(data)), nil)
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", data[:n], err)
		}
		if std.StatusCode != r.Status || bodyOf(std) != r.Body || r.Body == http1.Sized && std.ContentLength != r.ContentLength || std.Close == r.KeepAlive {
			t.Fatalf("net/http reads %+v, http1 %+v", std, r)
		}
		got := collect(r.Headers)
		got.Del("Transfer-Encoding") // net/http has a field for each
		got.Del("Trailer")
		if std.Close {
			got.Del("Connection") // net/http says it in Close
			std.Header.Del("Connection")
		}
		if !maps.EqualFunc(got, std.Header, slices.Equal) {
			t.Fatalf("net/http sees the headers %q, http1 %q", std.Header, got)
		}
		if strings.ContainsAny(string(r.Line), "\r\n") || !strings.HasPrefix(string(data), string(r.Line)+"\r\n") {
			t.Fatalf("the status line of %q is %q", data[:n], r.Line)
		}
	})
}
