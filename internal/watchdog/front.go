package watchdog

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"lofn/internal/http1"
)

const (
	// firstSize is the size of a client connection's first buffer, which most
	// heads fit into and which every idle connection costs.
	firstSize = 4 << 10
	// largestHead and largestBody bound a request that goes the short way.
	// Both together are less than what a socket takes without being read, so
	// that a function may answer before it has read.
	largestHead = 8 << 10
	largestBody = 64 << 10
	// answerSize is the size of the buffer for the function's answers.
	answerSize = 16 << 10
)

// front is a client's connection on the short way.
type front struct {
	net.Conn
	server *Server
	// buf[start:end] was read and not yet dealt with.
	buf        []byte
	start, end int
	timed      bool // a deadline for reading is set
	request    http1.Request
}

// verdict is what becomes of a connection.
type verdict int

const (
	again  verdict = iota // there may be another request
	over                  // it is to be closed
	notOur                // it is for net/http
)

func (c *front) serve() {
	defer c.server.leave(c)
	for {
		switch c.next() {
		case notOur:
			_ = c.SetDeadline(time.Time{})
			c.server.handed.put(&handedConn{Conn: c.Conn, prefix: c.buf[c.start:c.end]})
			return
		case over:
			c.finish()
			return
		}
	}
}

// finish closes the connection so that the client gets what was sent: if it
// were closed with bytes unread, it would be reset.
func (c *front) finish() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.end > c.start {
		_ = half.CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(politeness))
		_, _ = io.Copy(io.Discard, c.Conn)
	}
	c.Close()
}

// next reads one request and answers it.
func (c *front) next() verdict {
	head, v := c.readHead()
	if v != again {
		return v
	}
	r := &c.request
	if r.ContentLength > largestBody || bytes.HasPrefix(r.Target, []byte("/_/")) || asksForStream(r.Headers) {
		return notOur
	}
	size := head + int(r.ContentLength)
	if !c.readAll(size) {
		return over
	}
	e := exchange{front: c, request: c.buf[c.start : c.start+size], head: head}
	keep := e.run()
	c.consume(size)
	if !c.server.mark(c, nil) || !keep {
		return over
	}
	return again
}

// asksForStream is endless, for what may come the short way.
func asksForStream(headers []http1.Header) bool {
	for _, h := range headers {
		if h.Kind == http1.Other && len(h.Name) == len("accept") && strings.EqualFold(string(h.Name), "accept") &&
			acceptsStream(string(h.Value)) {
			return true
		}
	}
	return false
}

// readHead reads until there is a whole head, and parses it.
func (c *front) readHead() (n int, v verdict) {
	for {
		if c.end > c.start {
			n, err := c.request.Parse(c.buf[c.start:c.end])
			if err == nil {
				return n, again
			}
			if !errors.Is(err, http1.ErrIncomplete) || c.end-c.start >= largestHead {
				return 0, notOur
			}
		}
		if err := c.fill(); errors.Is(err, io.EOF) && c.end > c.start {
			return 0, notOur // net/http has an answer to half a head
		} else if err != nil {
			return 0, over
		}
	}
}

// readAll reads until size bytes are there, head included.
func (c *front) readAll(size int) bool {
	if c.start+size > len(c.buf) {
		c.grow(size)
		// The request pointed into the buffer as it was.
		if _, err := c.request.Parse(c.buf[c.start:c.end]); err != nil {
			return false
		}
	}
	for c.end-c.start < size {
		if c.fill() != nil {
			return false
		}
	}
	return true
}

// fill reads once from the client, which has all the time it wants for the
// first byte of a request and read_timeout for each piece after that.
func (c *front) fill() error {
	if c.end == len(c.buf) {
		c.grow(c.end - c.start + firstSize)
	}
	wait := c.server.watchdog.config.ReadTimeout
	if begun := c.end > c.start && wait > 0; begun || c.timed {
		deadline := time.Time{}
		if begun {
			deadline = time.Now().Add(wait)
		}
		_ = c.SetReadDeadline(deadline)
		c.timed = begun
		if c.end == c.start && c.server.isClosing() {
			return net.ErrClosed // the deadline that Shutdown had set was undone
		}
	}
	n, err := c.Read(c.buf[c.end:])
	c.end += n
	if n > 0 {
		return nil
	}
	return err
}

// grow makes room for size bytes from start on.
func (c *front) grow(size int) {
	buf := c.buf
	if size > len(buf) {
		buf = make([]byte, max(size, firstSize))
	}
	c.end = copy(buf, c.buf[c.start:c.end])
	c.start, c.buf = 0, buf
}

// push puts a byte behind what was read. Nothing in the buffer moves, since
// the request points into it.
func (c *front) push(b byte) {
	c.buf = append(c.buf[:c.end], b)
	c.buf = c.buf[:cap(c.buf)]
	c.end++
}

// consume drops a request that was answered, and a large buffer with it.
func (c *front) consume(n int) {
	c.start += n
	if c.start < c.end {
		return
	}
	c.start, c.end = 0, 0
	if len(c.buf) > 4*firstSize {
		c.buf = nil
	}
}
