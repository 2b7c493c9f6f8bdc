package watchdog_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"lofn"
	"lofn/internal/watchdog"
)

// pipes is a listener for connections that are made in memory.
type pipes struct {
	conns chan net.Conn
	done  context.Context
	close context.CancelFunc
}

func newPipes() *pipes {
	done, end := context.WithCancel(context.Background())
	return &pipes{make(chan net.Conn), done, end}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done.Done():
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.close(); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

// function answers the first connection with the bytes given, and each later
// one as a function should.
func function(first []byte) func(context.Context) (net.Conn, error) {
	answers := make(chan []byte, 1)
	answers <- first
	return func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Proper: yes\r\n\r\nok")
		select {
		case answer = <-answers:
		default:
		}
		go func() {
			defer theirs.Close()
			if _, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
				_, _ = theirs.Write(answer)
			}
		}()
		return ours, nil
	}
}

// FuzzAnswer has a function answer with anything: the client gets one answer
// to each of its calls, whatever the first was, or the connection ends.
func FuzzAnswer(f *testing.F) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: a/b\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nX-Forged: yes\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nuntil the end",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", "",
	} {
		f.Add([]byte(answer))
	}
	config, err := watchdog.ConfigFromEnv([]string{"mode=http", "fprocess=x", "upstream_url=http://127.0.0.1:1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, first []byte) {
		if strings.Contains(strings.ToLower(string(first)), "x-proper") {
			return
		}
		w, err := watchdog.New(config, watchdog.Options{Dial: function(first)})
		if err != nil {
			t.Fatal(err)
		}
		server := watchdog.NewServer(w, &http.Server{Handler: w})
		l := newPipes()
		served := make(chan error)
		go func() { served <- server.Serve(l) }()
		client, theirs := net.Pipe()
		l.conns <- theirs
		callTwice(t, client)
		_ = client.Close()
		_ = server.Close()
		<-served
		_ = w.Shutdown(context.Background())
	})
}

// callTwice makes two calls, one after the other, of which only the second has
// a proper answer.
func callTwice(t *testing.T, client net.Conn) {
	t.Helper()
	r := bufio.NewReader(client)
	for call := range 2 {
		if _, err := io.WriteString(client, "GET /call HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return
		}
		answer, err := finalAnswer(r)
		if err != nil {
			return
		}
		_, err = io.ReadAll(answer.Body)
		if proper := answer.Header.Get("X-Proper") == "yes"; proper != (call == 1) {
			t.Fatalf("call %d was answered with %s %v", call, answer.Status, answer.Header)
		}
		if err != nil || answer.Close {
			return
		}
		if r.Buffered() > 0 {
			rest, _ := r.Peek(r.Buffered())
			t.Fatalf("call %d: after the answer came %q", call, rest)
		}
	}
}

func finalAnswer(r *bufio.Reader) (*http.Response, error) {
	for {
		answer, err := http.ReadResponse(r, nil)
		if err != nil || answer.StatusCode >= 200 {
			return answer, err
		}
	}
}

// FuzzToken: nothing that was not signed is let in, whatever it looks like.
func FuzzToken(f *testing.F) {
	f.Add("eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.AAAA")
	f.Add("..")
	f.Add("e30.e30.")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		if watchdog.Verifies(text) {
			t.Errorf("%q was accepted", text)
		}
	})
}

// FuzzEnviron: whatever a request's head holds, the process gets one variable
// for each name, none of which ends or begins another.
func FuzzEnviron(f *testing.F) {
	f.Add("GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\nX-A_B: 1\r\nX_A-B: 2\r\nProxy: p\r\n\r\n")
	f.Add("POST /%00%0a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nHost_: y\r\nContentLength: 9\r\n\r\nabc")
	f.Fuzz(func(t *testing.T, head string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
		if err != nil {
			return
		}
		var names []string
		for _, pair := range watchdog.Environ(r)[1:] {
			name, value, _ := strings.Cut(pair, "=")
			if !strings.HasPrefix(name, "Http_") || strings.Trim(name, letters) != "" || strings.ContainsAny(value, "\x00\r\n") {
				t.Errorf("%q became %q", head, pair)
			}
			if strings.EqualFold(name, "Http_Proxy") {
				t.Errorf("%q became %q", head, pair)
			}
			names = append(names, name)
		}
		if len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("%q has a variable twice: %q", head, names)
		}
	})
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

// FuzzConfig: an environment makes a configuration that makes sense, or an
// error that names a variable.
func FuzzConfig(f *testing.F) {
	f.Add("mode=http\nupstream_url=http://127.0.0.1:1/\nexec_timeout=1m")
	f.Add("fprocess=cat\nmax_inflight=-1\nport=70000")
	f.Add("watchdog=classic\nfprocess=sh -c\nread_timeout=5")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := watchdog.ConfigFromEnv(strings.Split(text, "\n"))
		if err != nil {
			if code := lofn.CodeOf(err); code != lofn.Invalid && code != lofn.Unimplemented {
				t.Errorf("%q: %v has code %d", text, err, code)
			}
			return
		}
		if c.Port < 1 || c.Port > 65535 || c.ExecTimeout < 0 || c.StreamTimeout < 0 || c.ReadTimeout < 0 || c.WriteTimeout < 0 || c.MaxInflight < 0 {
			t.Errorf("%q: %+v", text, c)
		}
	})
}
