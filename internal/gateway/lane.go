package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"lofn"
	"lofn/internal/http1"
)

// direct lends connections to replicas, for exchanges without net/http.
type direct interface {
	Direct(lofn.Ref) (lofn.Link, bool)
}

// Lane is a second door to the same functions, for plain calls: requests in
// HTTP/1.1 that leave nothing to interpretation, with a body that fits into a
// buffer, for a function with a ready replica. Everything else it leaves to
// the Gateway: a connection with anything unusual on it goes to the listener
// Rest, with every byte that was read from it, and stays there. What a call
// means is the same through both doors.
type Lane struct {
	gateway *Gateway
	direct  direct
	rest    *restListener
	outs    sync.Pool // *[]byte, for what is written
	ins     sync.Pool // *[]byte, for what is read from functions

	mu       sync.Mutex
	listener net.Listener
	closing  bool
	conns    map[*laneConn]bool // whether it waits for a request
	done     sync.WaitGroup
}

// NewLane returns a lane before the gateway.
func NewLane(g *Gateway, d direct) *Lane {
	return &Lane{
		gateway: g, direct: d, rest: newRestListener(), conns: make(map[*laneConn]bool),
		outs: sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }},
		ins:  sync.Pool{New: func() any { return new(make([]byte, replySize)) }},
	}
}

const (
	// firstSize is the size of a connection's first buffer, which most heads
	// fit into and which every idle connection costs.
	firstSize = 4 << 10
	// requestSize bounds a request, body included. It is what a Unix socket
	// takes without being read (net.core.wmem_default is 208 KiB), so that
	// writing it does not wait for a function that answers first.
	requestSize = 72 << 10
	// replySize is the size of the buffer for a function's answer.
	replySize = 16 << 10

	// headTime and idleTime are those of the http.Server behind the lane;
	// bodyTime is how long the lane waits for a body by itself.
	headTime = 30 * time.Second
	idleTime = 2 * time.Minute
	bodyTime = 5 * time.Second
)

// Rest is where an http.Server finds the connections that are not for the
// lane.
func (l *Lane) Rest() net.Listener { return l.rest }

// Serve accepts connections until Shutdown, upon which it returns
// http.ErrServerClosed, or until the listener breaks.
func (l *Lane) Serve(listener net.Listener) error {
	l.mu.Lock()
	l.listener = listener
	l.mu.Unlock()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if l.isClosing() {
				return http.ErrServerClosed
			}
			if passing(err) {
				continue
			}
			return err
		}
		c := &laneConn{Conn: conn, lane: l}
		if !l.enter(c) {
			conn.Close()
			continue
		}
		go c.serve()
	}
}

// passing reports whether it is worth to accept again: the machine was out of
// descriptors or the client gave up.
func passing(err error) bool {
	var temporary interface{ Temporary() bool }
	if !errors.As(err, &temporary) || !temporary.Temporary() {
		return false
	}
	<-time.After(5 * time.Millisecond)
	return true
}

// Shutdown takes no new connections, closes the idle ones, and waits for the
// calls under way, until ctx ends.
func (l *Lane) Shutdown(ctx context.Context) error {
	l.mu.Lock()
	l.closing = true
	if l.listener != nil {
		l.listener.Close()
	}
	for c, waiting := range l.conns {
		if waiting {
			_ = c.SetReadDeadline(time.Now())
		}
	}
	l.mu.Unlock()
	finished := make(chan struct{})
	go func() {
		l.done.Wait()
		close(finished)
	}()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		for c := range l.conns {
			c.Close()
		}
		return ctx.Err()
	}
}

func (l *Lane) isClosing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing
}

func (l *Lane) enter(c *laneConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return false
	}
	l.conns[c] = true
	l.done.Add(1)
	return true
}

func (l *Lane) leave(c *laneConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	l.done.Done()
}

// mark notes whether a connection waits for a request, and reports whether
// it should go on.
func (l *Lane) mark(c *laneConn, waiting bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = waiting
	return !l.closing
}

// laneConn is a client's connection.
type laneConn struct {
	net.Conn
	lane *Lane
	// buf[start:end] was read and not yet dealt with.
	buf        []byte
	start, end int
	request    http1.Request
}

// errRest says that the connection is not for the lane.
var errRest = errors.New("gateway: not for the fast lane")

func (c *laneConn) serve() {
	defer c.lane.leave(c)
	for {
		keep, err := c.next()
		if err == errRest {
			c.handOver()
			return
		}
		if err != nil || !keep {
			c.finish()
			return
		}
	}
}

// handOver gives the connection to net/http, with all that was read.
func (c *laneConn) handOver() {
	_ = c.SetDeadline(time.Time{})
	c.lane.rest.put(&restConn{Conn: c.Conn, prefix: c.buf[c.start:c.end]})
}

// finish closes the connection so that the client gets what was sent: closed
// at once with unread bytes it would be reset.
func (c *laneConn) finish() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.end > c.start {
		_ = half.CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		_, _ = io.Copy(io.Discard, c.Conn)
	}
	c.Close()
}

// next reads one request and answers it. keep tells whether there may be
// another one.
func (c *laneConn) next() (keep bool, err error) {
	head, err := c.readHead()
	if err != nil {
		return false, err
	}
	if !bytes.HasPrefix(c.request.Target, []byte(Prefix)) || c.request.ContentLength > requestSize {
		return false, errRest
	}
	size := head + int(c.request.ContentLength)
	if err := c.readAll(size); err != nil {
		return false, err
	}
	e := exchange{conn: c, body: c.buf[c.start+head : c.start+size], size: size}
	if err := e.route(); err != nil {
		return false, err
	}
	c.lane.mark(c, false)
	keep, err = e.run()
	if err != nil {
		return false, err
	}
	c.consume(size)
	return keep && c.request.KeepAlive && c.lane.mark(c, true), nil
}

// readHead reads until there is a whole head, and parses it.
func (c *laneConn) readHead() (n int, err error) {
	var by time.Time // when a head that was begun must be whole
	for {
		if c.end > c.start {
			n, err = c.request.Parse(c.buf[c.start:c.end])
			if err == nil {
				return n, nil
			}
			if err != http1.ErrIncomplete || c.end-c.start >= replySize {
				return 0, errRest
			}
		}
		switch {
		case c.end == c.start:
			by = time.Time{}
			err = c.fill(time.Now().Add(idleTime))
		case by.IsZero():
			by = time.Now().Add(headTime)
			fallthrough
		default:
			err = c.fill(by)
		}
		if err != nil {
			if err == io.EOF && c.end > c.start {
				return 0, errRest // net/http has an answer for half a head
			}
			return 0, err
		}
	}
}

// readAll reads until size bytes are there, head included. A client that is
// slow to send its body is left to net/http, where the call's deadline counts
// from its head on.
func (c *laneConn) readAll(size int) error {
	if c.end-c.start >= size {
		return nil
	}
	if c.start+size > len(c.buf) {
		c.grow(size)
		// The request pointed into the buffer as it was.
		if _, err := c.request.Parse(c.buf[c.start:c.end]); err != nil {
			return err
		}
	}
	for by := time.Now().Add(bodyTime); c.end-c.start < size; {
		if err := c.fill(by); errors.Is(err, os.ErrDeadlineExceeded) && !c.lane.isClosing() {
			return errRest
		} else if err != nil {
			return err
		}
	}
	return nil
}

// fill reads once from the client, until the deadline.
func (c *laneConn) fill(by time.Time) error {
	if c.end == len(c.buf) {
		c.grow(c.end - c.start + firstSize)
	}
	if err := c.SetReadDeadline(by); err != nil {
		return err
	}
	if c.lane.isClosing() && c.end == c.start {
		return http.ErrServerClosed
	}
	n, err := c.Read(c.buf[c.end:])
	c.end += n
	if n > 0 {
		return nil
	}
	return err
}

// grow makes room for size bytes from start on.
func (c *laneConn) grow(size int) {
	buf := c.buf
	if size > len(buf) {
		buf = make([]byte, max(size, firstSize))
	}
	c.end = copy(buf, c.buf[c.start:c.end])
	c.start, c.buf = 0, buf
}

// push puts back a byte that was read besides. The request may point into the
// buffer, so nothing in it moves.
func (c *laneConn) push(b byte) {
	if c.end == len(c.buf) {
		c.buf = append(c.buf, make([]byte, firstSize)...)
	}
	c.buf[c.end] = b
	c.end++
}

// consume drops a request that was answered, and a large buffer with it.
func (c *laneConn) consume(n int) {
	c.start += n
	if c.start == c.end {
		c.start, c.end = 0, 0
		if len(c.buf) > 4*firstSize {
			c.buf = nil
		}
	}
}
