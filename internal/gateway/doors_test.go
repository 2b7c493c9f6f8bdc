package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"lofn/internal/gateway"
	"lofn/internal/pool"
)

// mirrorRequest answers with what it was asked, in the form that the path
// names.
func mirrorRequest(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	h := w.Header()
	switch r.URL.Path {
	case "/204":
		w.WriteHeader(http.StatusNoContent)
		return
	case "/304":
		h.Set("Etag", `"x"`)
		w.WriteHeader(http.StatusNotModified)
		return
	case "/chunks":
		h.Set("Trailer", "X-Sum")
		for range 3 {
			fmt.Fprint(w, strings.Repeat("c", 700))
			_ = http.NewResponseController(w).Flush()
		}
		h.Set("X-Sum", "2100")
		return
	case "/close":
		h.Set("Connection", "close")
	case "/hop":
		h.Set("Keep-Alive", "timeout=5")
		h.Set("Proxy-Authenticate", "x")
	case "/untyped":
		h["Content-Type"] = nil
	case "/dateless":
		h["Date"] = nil
	case "/large":
		fmt.Fprint(w, strings.Repeat("l", 200_000))
		return
	case "/hints":
		h.Set("Link", "</x>")
		w.WriteHeader(http.StatusEarlyHints)
	case "/cookies":
		h["Set-Cookie"] = []string{"a=1", "b=2"}
		h.Set("Content-Encoding", "br")
	}
	var headers []string
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if !slices.Contains([]string{"X-Call-Id", "X-Start-Time", "X-Timeout", "X-Forwarded-For", "X-Forwarded-Host"}, name) {
			headers = append(headers, fmt.Sprintf("%s=%q", name, r.Header[name]))
		}
	}
	fmt.Fprintf(w, "%s %s host=%q length=%d body=%q %v %v", r.Method, r.RequestURI, r.Host, r.ContentLength, body, err, headers)
}

// lastRequest makes the server close the connection. It does not follow what
// is to be sent as an end of the stream would: that is a client that left.
const lastRequest = "GET /function/echo/last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// exchangeRaw sends bytes on a connection of their own, with lastRequest after
// them, and reads all answers.
func exchangeRaw(t *testing.T, url, raw string) (answers []string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, raw+lastRequest); err != nil {
		t.Log(err) // refused before the end
	}
	r := bufio.NewReader(conn)
	method, _, _ := strings.Cut(raw, " ")
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return answers
		}
		body, err := io.ReadAll(resp.Body)
		answers = append(answers, describe(resp, string(body), err))
	}
}

var replicaName = regexp.MustCompile(`echo-[a-z0-9]{10}`)

// describe leaves out of an answer what differs from one call to the next.
func describe(resp *http.Response, body string, err error) string {
	var headers []string
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		switch name {
		case "Date", "X-Call-Id", "X-Start-Time", "X-Duration-Seconds":
			headers = append(headers, name)
		default:
			headers = append(headers, fmt.Sprintf("%s=%q", name, resp.Header[name]))
		}
	}
	body = replicaName.ReplaceAllString(body, "echo-ID")
	return fmt.Sprintf("%s close=%v %v length=%d %v trailer=%v %d bytes %.300q %v",
		resp.Status, resp.Close, headers, resp.ContentLength, resp.TransferEncoding, resp.Trailer, len(body), body, err)
}

// hostile are requests that proxies have been fooled with, as seen in the
// literature on request smuggling (RFC 9112, 11.2), and the plain ones that
// they imitate. %s is the function's path.
var hostile = map[string]string{
	"plain":                          "GET %s/a HTTP/1.1\r\nHost: x\r\n\r\n",
	"query":                          "GET %s?a=1&b=2;c HTTP/1.1\r\nHost: x\r\n\r\n",
	"empty query":                    "GET %s/? HTTP/1.1\r\nHost: x\r\n\r\n",
	"encoded slash":                  "GET %s/a%%2Fb HTTP/1.1\r\nHost: x\r\n\r\n",
	"encoded dots":                   "GET %s/%%2e%%2e/a HTTP/1.1\r\nHost: x\r\n\r\n",
	"dots":                           "GET %s/../../system/functions HTTP/1.1\r\nHost: x\r\n\r\n",
	"double slash":                   "GET %s//a//b HTTP/1.1\r\nHost: x\r\n\r\n",
	"encoded name":                   "GET /function/ech%%6f HTTP/1.1\r\nHost: x\r\n\r\n",
	"bad escape":                     "GET %s/%%zz HTTP/1.1\r\nHost: x\r\n\r\n",
	"NUL escape":                     "GET %s/%%00 HTTP/1.1\r\nHost: x\r\n\r\n",
	"NUL":                            "GET %s/\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
	"backslash":                      "GET %s\\..\\a HTTP/1.1\r\nHost: x\r\n\r\n",
	"beyond ASCII":                   "GET %s/é HTTP/1.1\r\nHost: x\r\n\r\n",
	"curly":                          "GET %s/{a} HTTP/1.1\r\nHost: x\r\n\r\n",
	"fragment":                       "GET %s#x HTTP/1.1\r\nHost: x\r\n\r\n",
	"space in path":                  "GET %s/a b HTTP/1.1\r\nHost: x\r\n\r\n",
	"absolute URI":                   "GET http://other%s HTTP/1.1\r\nHost: x\r\n\r\n",
	"no version":                     "GET %s\r\nHost: x\r\n\r\n",
	"HTTP/0.9":                       "GET %s HTTP/0.9\r\nHost: x\r\n\r\n",
	"HTTP/1.0":                       "GET %s HTTP/1.0\r\nHost: x\r\n\r\n",
	"HTTP/1.2":                       "GET %s HTTP/1.2\r\nHost: x\r\n\r\n",
	"HTTP/3.0":                       "GET %s HTTP/3.0\r\nHost: x\r\n\r\n",
	"lower-case version":             "GET %s http/1.1\r\nHost: x\r\n\r\n",
	"lower-case method":              "get %s HTTP/1.1\r\nHost: x\r\n\r\n",
	"odd method":                     "BREW %s HTTP/1.1\r\nHost: x\r\n\r\n",
	"method with a colon":            "GE:T %s HTTP/1.1\r\nHost: x\r\n\r\n",
	"leading CRLF":                   "\r\nGET %s HTTP/1.1\r\nHost: x\r\n\r\n",
	"bare LF":                        "GET %s HTTP/1.1\nHost: x\n\n",
	"bare LF header":                 "GET %s HTTP/1.1\r\nHost: x\r\nA: b\nC: d\r\n\r\n",
	"bare CR in value":               "GET %s HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n",
	"NUL in value":                   "GET %s HTTP/1.1\r\nHost: x\r\nA: b\x00\r\n\r\n",
	"folded":                         "GET %s HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
	"folded length":                  "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n 4\r\n\r\nbody",
	"space before colon":             "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length : 4\r\n\r\nbody",
	"tab before colon":               "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length\t: 4\r\n\r\nbody",
	"no colon":                       "GET %s HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
	"empty name":                     "GET %s HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
	"beyond ASCII in name":           "GET %s HTTP/1.1\r\nHost: x\r\nÄ: y\r\n\r\n",
	"beyond ASCII in value":          "GET %s HTTP/1.1\r\nHost: x\r\nA: ä\r\n\r\n",
	"no host":                        "GET %s HTTP/1.1\r\n\r\n",
	"two hosts":                      "GET %s HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
	"bad host":                       "GET %s HTTP/1.1\r\nHost: a b\r\n\r\n",
	"host with a path":               "GET %s HTTP/1.1\r\nHost: a/b\r\n\r\n",
	"empty host":                     "GET %s HTTP/1.1\r\nHost:\r\n\r\n",
	"IPv6 host":                      "GET %s HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
	"body":                           "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody",
	"body of a GET":                  "GET %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody",
	"body of zero":                   "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
	"body without length":            "POST %s HTTP/1.1\r\nHost: x\r\n\r\nGET %s/b HTTP/1.1\r\nHost: x\r\n\r\n",
	"short body":                     "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nbody",
	"same length twice":              "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
	"two lengths":                    "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody!",
	"list of lengths":                "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4, 4\r\n\r\nbody",
	"signed length":                  "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nbody",
	"negative length":                "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: -4\r\n\r\nbody",
	"hexadecimal length":             "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0x4\r\n\r\nbody",
	"length with a unit":             "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4b\r\n\r\nbody",
	"length with leading zeros":      "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0004\r\n\r\nbody",
	"length with underscore":         "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4_0\r\n\r\nbody",
	"huge length":                    "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nbody",
	"chunked":                        "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
	"chunked with trailers":          "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n4\r\nbody\r\n0\r\nA: b\r\n\r\n",
	"chunk extension":                "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\nbody\r\n0\r\n\r\n",
	"bad chunk size":                 "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nbody\r\n0\r\n\r\n",
	"huge chunk size":                "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nbody\r\n0\r\n\r\n",
	"negative chunk size":            "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-4\r\nbody\r\n0\r\n\r\n",
	"chunk with bare LF":             "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\nbody\n0\n\n",
	"CL.TE":                          "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
	"TE.CL":                          "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n14\r\nGPOST / HTTP/1.1\r\n\r\n\r\n0\r\n\r\n",
	"TE.TE":                          "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
	"TE with space":                  "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
	"TE with tab":                    "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
	"TE xchunked":                    "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
	"TE gzip, chunked":               "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	"TE upper case":                  "POST %s HTTP/1.1\r\nHost: x\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
	"TE in HTTP/1.0":                 "POST %s HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"TE look-alike":                  "POST %s HTTP/1.1\r\nHost: x\r\nTransfer_Encoding: chunked\r\nContent-Length: 4\r\n\r\nbody",
	"hop-by-hop named":               "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\n\r\n",
	"hop-by-hop names the length":    "POST %s HTTP/1.1\r\nHost: x\r\nConnection: Content-Length\r\nContent-Length: 4\r\n\r\nbody",
	"keep-alive header":              "GET %s HTTP/1.1\r\nHost: x\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive\r\n\r\n",
	"two connection headers":         "GET %s HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
	"proxy headers":                  "GET %s HTTP/1.1\r\nHost: x\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: x\r\n\r\n",
	"proxy variable":                 "GET %s HTTP/1.1\r\nHost: x\r\nProxy: http://evil\r\n\r\n",
	"forged gateway headers":         "GET %s HTTP/1.1\r\nHost: x\r\nX-Start-Time: 1\r\nX-Served-By: me\r\n\r\n",
	"two call ids":                   "GET %s HTTP/1.1\r\nHost: x\r\nX-Call-Id: a\r\nX-Call-Id: b\r\n\r\n",
	"empty call id":                  "GET %s HTTP/1.1\r\nHost: x\r\nX-Call-Id:\r\n\r\n",
	"own user agent":                 "GET %s HTTP/1.1\r\nHost: x\r\nUser-Agent: me\r\n\r\n",
	"repeated header":                "GET %s HTTP/1.1\r\nHost: x\r\nA: 1\r\na: 2\r\n\r\n",
	"upgrade to nowhere":             "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
	"h2c upgrade":                    "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
	"expect":                         "POST %s HTTP/1.1\r\nHost: x\r\nExpect: 200-maybe\r\nContent-Length: 4\r\n\r\nbody",
	"TE header":                      "GET %s HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n",
	"deadline":                       "GET %s HTTP/1.1\r\nHost: x\r\nX-Timeout: 5s\r\n\r\n",
	"bad deadline":                   "GET %s HTTP/1.1\r\nHost: x\r\nX-Timeout: soon\r\n\r\n",
	"pipelined":                      "GET %s/1 HTTP/1.1\r\nHost: x\r\n\r\nGET %s/2 HTTP/1.1\r\nHost: x\r\n\r\nGET %s/3 HTTP/1.1\r\nHost: x\r\n\r\n",
	"pipelined bodies":               "POST %s/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1POST %s/2 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n22",
	"pipelined after close":          "GET %s/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET %s/2 HTTP/1.1\r\nHost: x\r\n\r\n",
	"plain, then unusual":            "GET %s/1 HTTP/1.1\r\nHost: x\r\n\r\nPOST %s/2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nGET %s/3 HTTP/1.1\r\nHost: x\r\n\r\n",
	"plain, then garbage":            "GET %s/1 HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03\x01garbage\r\n\r\n",
	"TLS":                            "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03%s",
	"unknown function":               "GET /function/nope HTTP/1.1\r\nHost: x\r\n\r\n",
	"no function":                    "GET /function/ HTTP/1.1\r\nHost: x\r\n\r\n",
	"odd function name":              "GET /function/a:b HTTP/1.1\r\nHost: x\r\n\r\n",
	"HEAD":                           "HEAD %s/a HTTP/1.1\r\nHost: x\r\n\r\n",
	"HEAD of chunks":                 "HEAD %s/chunks HTTP/1.1\r\nHost: x\r\n\r\n",
	"HEAD of a large one":            "HEAD %s/large HTTP/1.1\r\nHost: x\r\n\r\n",
	"OPTIONS":                        "OPTIONS %s HTTP/1.1\r\nHost: x\r\n\r\n",
	"OPTIONS *":                      "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
	"TRACE":                          "TRACE %s HTTP/1.1\r\nHost: x\r\n\r\n",
	"204":                            "GET %s/204 HTTP/1.1\r\nHost: x\r\n\r\n",
	"304":                            "GET %s/304 HTTP/1.1\r\nHost: x\r\n\r\n",
	"chunked answer":                 "GET %s/chunks HTTP/1.1\r\nHost: x\r\n\r\nGET %s/b HTTP/1.1\r\nHost: x\r\n\r\n",
	"function closes":                "GET %s/close HTTP/1.1\r\nHost: x\r\n\r\nGET %s/b HTTP/1.1\r\nHost: x\r\n\r\n",
	"hop-by-hop in the answer":       "GET %s/hop HTTP/1.1\r\nHost: x\r\n\r\n",
	"untyped answer":                 "POST %s/untyped HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\nContent-Length: 1\r\n\r\nx",
	"untyped answer to untyped":      "GET %s/untyped HTTP/1.1\r\nHost: x\r\n\r\n",
	"answer without date":            "GET %s/dateless HTTP/1.1\r\nHost: x\r\n\r\n",
	"large answer":                   "GET %s/large HTTP/1.1\r\nHost: x\r\n\r\nGET %s/b HTTP/1.1\r\nHost: x\r\n\r\n",
	"early hints":                    "GET %s/hints HTTP/1.1\r\nHost: x\r\n\r\n",
	"several cookies":                "GET %s/cookies HTTP/1.1\r\nHost: x\r\n\r\n",
	"accepts encodings":              "GET %s HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n",
	"many headers":                   "GET %s HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 100) + "\r\n",
	"long header":                    "GET %s HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("b", 20_000) + "\r\n\r\n",
	"huge header":                    "GET %s HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("b", 3<<20) + "\r\n\r\n",
	"long path":                      "GET %s/" + strings.Repeat("p", 10_000) + " HTTP/1.1\r\nHost: x\r\n\r\n",
	"body of 64 KiB":                 "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n" + strings.Repeat("b", 65536),
	"body of 200 kB":                 "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("b", 200_000),
	"nothing":                        "",
	"half a head":                    "GET %s HTTP/1.1\r\nHost:",
	"garbage":                        "\x00\x01\x02\x03\r\n\r\n",
	"only CRLFs":                     "\r\n\r\n\r\n\r\n",
	"HTTP/2 preface with no frames ": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}

// TestDoorsMeanTheSame sends the table through both doors: the function gets
// the same, and so does the client.
func TestDoorsMeanTheSame(t *testing.T) {
	handler := http.HandlerFunc(mirrorRequest)
	wideDoor, fastDoor := start(t, wide, handler), start(t, fast, handler)
	for name, template := range hostile {
		raw := strings.ReplaceAll(strings.ReplaceAll(template, "%s", "/function/echo"), "%%", "%")
		want, got := exchangeRaw(t, wideDoor.url, raw), exchangeRaw(t, fastDoor.url, raw)
		if !slices.Equal(want, got) {
			t.Errorf("%s:\nwide %s\nfast %s", name, strings.Join(want, "\n     "), strings.Join(got, "\n     "))
		}
		for _, answer := range got {
			if name != "TE.CL" && strings.Contains(answer, "GPOST") || strings.Contains(answer, "X-Secret") || strings.Contains(answer, "http://evil") && name != "proxy variable" {
				t.Errorf("%s: smuggled: %s", name, answer)
			}
		}
	}
}

// lonely is the lane with nobody behind it.
func lonely(t testing.TB, g *gateway.Gateway, replicas *pool.Pool) (url string, closeDoor func()) {
	_, url, closeDoor = lonelyLane(t, g, replicas)
	return url, closeDoor
}

// lonelyLane answers what is not for the lane with 299, which says so.
func lonelyLane(t testing.TB, g *gateway.Gateway, replicas *pool.Pool) (lane *gateway.Lane, url string, closeDoor func()) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	lane = gateway.NewLane(g, replicas)
	served := make(chan error)
	go func() { served <- lane.Serve(listener) }()
	rest := make(chan struct{})
	go func() {
		defer close(rest)
		for {
			conn, err := lane.Rest().Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				// Closed with unread bytes it would be reset.
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil || err != io.EOF {
					fmt.Fprint(conn, "HTTP/1.1 299 Rest\r\nContent-Length: 0\r\n\r\n")
				}
			}()
		}
	}()
	return lane, "http://" + listener.Addr().String(), func() {
		_ = lane.Shutdown(context.Background())
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the lane ended with %v", err)
		}
		lane.Rest().Close()
		<-rest
	}
}

// TestPlainCallsTakeTheLane keeps the lane from falling out of use unnoticed.
func TestPlainCallsTakeTheLane(t *testing.T) {
	p := start(t, lonely, http.HandlerFunc(mirrorRequest))
	p.eventually("calls take the lane", func() bool {
		return strings.HasPrefix(exchangeRaw(t, p.url, "GET /function/echo HTTP/1.1\r\nHost: x\r\n\r\n")[0], "200")
	})
	for name, want := range map[string]string{
		"plain": "200", "body": "200", "body of 64 KiB": "200", "chunked answer": "200", "large answer": "200", "HEAD": "200", "204": "204",
		"chunked": "299", "upgrade to nowhere": "299", "unknown function": "299", "body of 200 kB": "299", "HTTP/1.0": "299",
	} {
		raw := strings.ReplaceAll(hostile[name], "%s", "/function/echo")
		if got := exchangeRaw(t, p.url, raw); len(got) == 0 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%s: %.100s, want %s", name, got, want)
		}
	}
}
