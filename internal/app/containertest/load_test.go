package containertest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// load calls a function again and again on kept connections.
type load struct {
	*platform
	// fine are the answers that there may be.
	fine    []string
	clients sync.WaitGroup
	over    chan struct{}
	calls   atomic.Int64
	// mayFail is set while the platform is not there.
	mayFail atomic.Bool
}

// startLoad starts two clients, one whose calls go to net/http, and one whose
// calls go to the lane.
func startLoad(p *platform, path string, fine ...string) *load {
	p.Helper()
	l := &load{platform: p, fine: fine, over: make(chan struct{})}
	for _, chunked := range []bool{true, false} {
		l.clients.Go(func() { l.client(path, chunked) })
	}
	l.more(20)
	return l
}

func (l *load) client(path string, chunked bool) {
	conn := &keptConn{address: strings.TrimPrefix(l.URL, "http://")}
	defer conn.close()
	for n := 0; ; n++ {
		select {
		case <-l.over:
			return
		default:
		}
		answer, err := conn.post("/function/"+path, chunked)
		if err != nil || !slices.Contains(l.fine, answer) {
			if !l.mayFail.Load() {
				l.Errorf("call %d of a client (chunked: %t) was answered %q, %v", n, chunked, answer, err)
			}
			return
		}
		l.calls.Add(1)
	}
}

// more returns when so many more calls were answered.
func (l *load) more(n int64) {
	l.Helper()
	until := l.calls.Load() + n
	l.Until("calls are answered", func() bool { return l.calls.Load() >= until || l.Failed() })
}

// end ends the load.
func (l *load) end() {
	l.Helper()
	close(l.over)
	l.clients.Wait()
	l.Logf("%d calls were answered", l.calls.Load())
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

func (k *keptConn) post(path string, chunked bool) (answer string, err error) {
	if k.conn == nil {
		if k.conn, err = net.Dial("tcp", k.address); err != nil {
			return "", err
		}
		k.answers = bufio.NewReader(k.conn)
	}
	body := "Content-Length: 2\r\n\r\nhi"
	if chunked {
		body = "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
	}
	if _, err = fmt.Fprintf(k.conn, "POST %s HTTP/1.1\r\nHost: lofn\r\n%s", path, body); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(k.answers, nil)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if response.Close {
		k.close()
	}
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return string(data), err
}
