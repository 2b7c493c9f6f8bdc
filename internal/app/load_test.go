package app_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// load calls a function again and again, each client with its next call as
// soon as it has the answer, on kept connections.
type load struct {
	*platform
	clients sync.WaitGroup
	over    chan struct{}
	calls   atomic.Int64
}

// startLoad starts clients whose calls go to net/http, and as many whose calls
// go to the lane.
func startLoad(p *platform, clients int) *load {
	l := &load{platform: p, over: make(chan struct{})}
	for range clients {
		l.clients.Go(func() { l.call(true) })
		l.clients.Go(func() { l.call(false) })
	}
	return l
}

// call makes calls with chunked bodies, or with plain ones.
func (l *load) call(chunked bool) {
	conn := &keptConn{address: strings.TrimPrefix(l.URL, "http://")}
	defer conn.close()
	for n := 0; ; n++ {
		select {
		case <-l.over:
			return
		default:
		}
		answer, err := conn.post("/function/fn/logged", fmt.Sprint(" ", n), chunked)
		if want := fmt.Sprint("v1 ", n); err != nil || answer != want {
			l.Errorf("call %d of a client (chunked: %t): %q, %v, want %q", n, chunked, answer, err, want)
			return
		}
		l.calls.Add(1)
	}
}

// more returns when so many more calls were answered.
func (l *load) more(n int64) {
	l.Helper()
	until := l.calls.Load() + n
	l.eventually("calls are answered", func() bool { return l.calls.Load() >= until || l.Failed() })
}

// end ends the load and returns how many calls were answered.
func (l *load) end() int64 {
	close(l.over)
	l.clients.Wait()
	return l.calls.Load()
}

// keptConn is a connection that is used until the server says that it closes
// it. Nothing is sent twice: what fails has failed.
type keptConn struct {
	address string
	conn    net.Conn
	answers *bufio.Reader
}

func (k *keptConn) close() {
	if k.conn != nil {
		k.conn.Close()
		k.conn = nil
	}
}

func (k *keptConn) post(path, body string, chunked bool) (answer string, err error) {
	if k.conn == nil {
		if k.conn, err = net.Dial("tcp", k.address); err != nil {
			return "", err
		}
		k.answers = bufio.NewReader(k.conn)
	}
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: lofn\r\n", path)
	if chunked {
		_, err = fmt.Fprintf(k.conn, "%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", head, len(body), body)
	} else {
		_, err = fmt.Fprintf(k.conn, "%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
	}
	if err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(k.answers, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if resp.Close {
		k.close()
	}
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(data), err
}

// longCall is a call that has begun and ends when it is told to.
type longCall struct {
	*platform
	body   *io.PipeWriter
	answer *http.Response
}

func (p *platform) begin() *longCall {
	p.Helper()
	from, body := io.Pipe()
	resp, err := http.Post(p.URL+"/function/fn/begun", "text/plain", from)
	if err != nil {
		p.Fatal(err)
	}
	begun := make([]byte, len("begun,"))
	if _, err := io.ReadFull(resp.Body, begun); err != nil {
		p.Fatal(err)
	}
	return &longCall{p, body, resp}
}

func (c *longCall) finish() {
	c.Helper()
	_, _ = io.WriteString(c.body, " at last")
	c.body.Close()
	defer c.answer.Body.Close()
	if got, err := io.ReadAll(c.answer.Body); err != nil || string(got) != "v1 at last" {
		c.Errorf("the long call was answered %q, %v", got, err)
	}
}
