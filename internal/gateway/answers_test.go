package gateway_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// hostileAnswers are what a broken function, or one that somebody else has the
// say in, may send; with the status that the client gets, and 0 where it may
// get none because the answer breaks off.
var hostileAnswers = []struct {
	what, raw string
	status    int
}{
	{"a plain one", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200},
	{"a body longer than its length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", 200},
	{"a second answer", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + forged, 200},
	{"a second answer behind one without a body", "HTTP/1.1 204 No Content\r\n\r\n" + forged, 204},
	{"a second answer behind 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n" + forged, 304},
	{"a body of 204", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", 204},
	{"chunks of 204", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 204},
	{"a body shorter than its length", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok", 0},
	{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", 502},
	{"a length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200},
	{"a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", 502},
	{"a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok", 502},
	{"a length of 2^64+2", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok", 502},
	{"a length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200},
	{"chunks, and more", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + forged, 200},
	{"another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", 502},
	{"a coding in a list", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 502},
	{"a chunk size that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n", 0},
	{"a huge chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nok\r\n", 0},
	{"a chunk with a bare LF", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n", 0},
	{"half of chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", 0},
	{"a trailer with a line's end in it", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n2\r\nok\r\n0\r\nA: b\rC: d\r\n\r\n", 0},
	{"a length as a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 9\r\nA: b\r\n\r\n", 0},
	{"a bare CR in a value", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\rC: d\r\n\r\nok", 0},
	{"a bare LF in a value", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\nC: d\r\n\r\nok", 0},
	{"a NUL in a value", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\x00c\r\n\r\nok", 0},
	{"a folded value", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\n c\r\n\r\nok", 200},
	{"a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", 0},
	{"no colon", "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nok", 502},
	{"a bare LF for every CRLF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200},
	{"a reason with a bare CR", "HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok", 0},
	{"no reason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200},
	{"a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok", 502},
	{"a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok", 502},
	{"a status of 999", "HTTP/1.1 999 What\r\nContent-Length: 2\r\n\r\nok", 999},
	{"a status of 000", "HTTP/1.1 000 What\r\nContent-Length: 2\r\n\r\nok", 502},
	{"a negative status", "HTTP/1.1 -20 OK\r\nContent-Length: 2\r\n\r\nok", 502},
	{"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nok", 200},
	{"HTTP/0.9", "ok", 502},
	{"HTTP/2", "\x00\x00\x00\x04\x00\x00\x00\x00\x00", 502},
	{"TLS", "\x16\x03\x01\x00\x05hello", 502},
	{"nothing", "", 502},
	{"half a head", "HTTP/1.1 200 OK\r\nContent-Le", 502},
	{"an interim answer and nothing", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", 502},
	{"an interim answer that is broken", "HTTP/1.1 103 Early Hints\r\nLink: x\rA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 0},
	{"interim answers", strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", 3) + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200},
	{"an interim answer with a body", "HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 502},
	{"100 that nobody waits for", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200},
	{"another protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" + forged, 502},
	{"a forged gateway header", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Call-Id: forged\r\nX-Served-By: forged\r\n\r\nok", 200},
	{"hop-by-hop headers", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop\r\nX-Hop: forged\r\nKeep-Alive: timeout=1\r\n\r\nok", 200},
	{"a length that Connection names", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Content-Length\r\n\r\nok", 200},
	{"a head of 2 MiB", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 2<<20) + "\r\nContent-Length: 2\r\n\r\nok", 502},
	{"a thousand headers", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 1000) + "Content-Length: 2\r\n\r\nok", 200},
}

// forged is an answer that must never reach a client.
const forged = "HTTP/1.1 200 OK\r\nX-Hop: forged\r\nContent-Length: 6\r\n\r\nforged"

// answering is a function that answers calls of /hostile with what it was told,
// and others as it should. It closes the connection after each.
type answering struct {
	mu  sync.Mutex
	raw string
}

func (a *answering) serve(conn net.Conn) {
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	if r.URL.Path == "/hostile" {
		a.mu.Lock()
		defer a.mu.Unlock()
		_, _ = io.WriteString(conn, a.raw)
		return
	}
	fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Proper: yes\r\nConnection: close\r\n\r\nok")
}

func (a *answering) tell(raw string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.raw = raw
}

// TestNoAnswerReachesAnotherCall has a function answer in every bad way: the
// client gets one answer to each call, or the connection ends.
func TestNoAnswerReachesAnotherCall(t *testing.T) {
	eachDoor(t, func(t *testing.T, d door) {
		var asking sync.WaitGroup
		for each := range slices.Chunk(hostileAnswers, 4) { // net/http waits half a second after some
			function := new(answering)
			p := besides(t, d, nil, raw(function.serve))
			asking.Go(func() {
				for _, a := range each {
					function.tell(a.raw)
					if status := p.callHostile(a.what); a.status > 0 && status != a.status {
						t.Errorf("%s: the client got %d, want %d", a.what, status, a.status)
					}
				}
			})
		}
		asking.Wait()
	})
}

// callHostile makes a call with a hostile answer, whose status it returns, and
// one with a proper answer over the same connection.
func (p *platform) callHostile(what string) (status int) {
	p.Helper()
	conn, r := p.dial()
	defer conn.Close()
	for _, path := range []string{"hostile", "proper"} {
		fmt.Fprintf(conn, "GET /function/echo/%s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		answer, err := strictAnswer(r)
		if err != nil {
			if _, broken := err.(faultError); broken {
				p.Errorf("%s: %s was answered with %v", what, path, err)
			}
			return status
		}
		if proper := answer.Header.Get("X-Proper") == "yes"; proper != (path == "proper") || answer.Header.Get("X-Hop") != "" {
			p.Errorf("%s: %s was answered with %s %v", what, path, answer.Status, answer.Header)
		}
		if h := answer.Header; h.Get("X-Call-Id") == "forged" || h.Get("X-Served-By") != "lofn/test" {
			p.Errorf("%s: %s was answered with %v", what, path, h)
		}
		_, err = io.ReadAll(answer.Body)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.Errorf("%s: the answer to %s has no end", what, path)
		}
		if path == "hostile" {
			status = answer.StatusCode
		}
		if err != nil || answer.Close {
			return status
		}
		if n := r.Buffered(); n > 0 {
			rest, _ := r.Peek(n)
			p.Errorf("%s: after the answer to %s came %.100q", what, path, rest)
		}
	}
	return status
}

// faultError is an answer that not every client would read in the same way.
type faultError struct{ error }

// strictAnswer reads the next final answer, and sees that its head has nothing
// in it that some client might take for the end of a line.
func strictAnswer(r *bufio.Reader) (*http.Response, error) {
	for {
		var head strings.Builder
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = r.ReadString('\n'); err != nil {
				return nil, err
			}
			text, whole := strings.CutSuffix(line, "\r\n")
			if !whole || strings.ContainsAny(text, "\r\x00") {
				return nil, faultError{fmt.Errorf("the line %q", line)}
			}
			head.WriteString(line)
		}
		// The body is read from r itself, so that what follows it is seen.
		answer, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(head.String()), oneByOne{r})), nil)
		if err != nil {
			return nil, faultError{err}
		}
		if lengths := answer.Header.Values("Content-Length"); len(lengths)+len(answer.TransferEncoding) > 1 {
			return nil, faultError{fmt.Errorf("lengths %q and codings %q", lengths, answer.TransferEncoding)}
		}
		if answer.StatusCode >= 200 {
			return answer, nil
		}
	}
}

// oneByOne gives no more than is asked for, so that a reader with a buffer
// takes nothing that it does not use.
type oneByOne struct{ io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.Reader.Read(p[:1]) }
