package gateway

import (
	"bytes"
	"io"
	"slices"
	"syscall"
	"time"

	"lofn"
	"lofn/internal/http1"
)

// client is a client's connection.
type client struct {
	socket
	remote string
	// ref is the function that was called last, by the name.
	name string
	ref  lofn.Ref
	// buf is what was read and not yet dealt with, of which buf[:seen] is known
	// to be less than a request. wanted is the size of the request that it
	// begins, 0 as long as its head is not whole.
	buf          []byte
	seen, wanted int
	request      http1.Request
	// exchange is the call under way, nil if the next request is awaited.
	exchange *exchange
	phase    phase
	timer    timer
	// stepping is set while requests are dealt with, further down the stack.
	stepping bool
}

// phase is what a client's timer is for.
type phase uint8

const (
	idle   phase = iota
	inHead       // of a request
	inBody
	inCall
	// lastWords are those that the client has not taken yet.
	lastWords
	lingering
)

// serve begins with a new connection.
func (l *loop) serve(fd int32, remote string) {
	c := &client{remote: remote}
	c.ready, c.timer.fire = c.onEvent, c.onTimer
	c.loop, c.fd = l, fd
	l.clients[c] = struct{}{}
	l.load.Store(int32(len(l.clients)))
	if err := l.adopt(&c.socket, fd, reads); err != nil {
		l.lane.gateway.Log.Warn("a connection cannot be watched", "client", remote, "error", err)
		c.close()
		return
	}
	if l.lane.closing.Load() {
		c.close()
		return
	}
	c.enter(idle, idleTime)
	// Most clients have sent their request by now.
	c.readable = true
	c.step()
}

func (c *client) enter(p phase, limit time.Duration) {
	c.phase = p
	c.loop.timers.set(&c.timer, time.Now().Add(limit))
}

func (c *client) onEvent() {
	if len(c.unsent) > 0 && c.flush() != nil {
		c.lost()
		return
	}
	e := c.exchange
	switch {
	case c.phase == lingering:
		c.discard()
	case e != nil && c.hungUp:
		e.clientEnded()
	case e != nil && len(c.unsent) == 0:
		e.receive()
	default:
		c.step()
	}
}

func (c *client) onTimer() {
	switch c.phase {
	case inCall:
		c.exchange.tick()
	case inBody:
		// Net/http has more patience: there the call's deadline counts from
		// its head on.
		c.handOver(c.buf)
	default:
		c.close()
	}
}

// lost deals with a connection that nothing can be sent on.
func (c *client) lost() {
	if c.exchange != nil {
		c.exchange.abandon()
		return
	}
	c.close()
}

// step deals with what can be read, until a call is under way.
func (c *client) step() {
	if c.stepping {
		return
	}
	c.stepping = true
	for c.fd >= 0 && c.exchange == nil && len(c.unsent) == 0 && c.phase < lastWords && c.advance() {
	}
	c.stepping = false
	if c.phase == lastWords && len(c.unsent) == 0 {
		c.linger()
	}
}

// advance looks at what there is, or reads once. It reports whether to go on.
func (c *client) advance() bool {
	if c.loop.draining {
		c.handOver(c.buf)
		return false
	}
	data := c.buf
	if len(data) == c.seen {
		if !c.readable {
			return false
		}
		var err error
		if data, err = c.more(); err != nil {
			return c.noMore(err)
		}
	}
	if c.wanted > len(data) || c.wanted == 0 && bytes.IndexByte(data[c.seen:], '\n') < 0 && len(data) < headSize {
		c.keep(data)
		return true
	}
	return c.deal(data)
}

// more reads behind what was kept, or else into the loop's buffer.
func (c *client) more() ([]byte, error) {
	if len(c.buf) == 0 {
		n, err := c.read(c.loop.in)
		return c.loop.in[:n], err
	}
	c.buf = slices.Grow(c.buf, max(c.wanted-len(c.buf), 4<<10))
	n, err := c.read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	return c.buf, err
}

func (c *client) noMore(err error) bool {
	switch {
	case err == errWouldBlock:
	case err == io.EOF && c.phase == inHead:
		c.handOver(c.buf) // net/http has an answer for half a head
	default:
		c.close()
	}
	return false
}

// keep keeps the beginning of a request.
func (c *client) keep(data []byte) {
	switch {
	case len(c.buf) > 0:
	case c.wanted > joinSize:
		c.buf = data
		c.loop.in = c.loop.large()
	default:
		c.buf = append(c.buf, data...)
	}
	c.seen = len(c.buf)
	switch {
	case c.wanted > 0 && c.phase != inBody:
		c.enter(inBody, bodyTime)
	case c.wanted == 0 && c.phase == idle:
		c.enter(inHead, headTime)
	}
}

// deal parses a request, and begins the call if all of it is there.
func (c *client) deal(data []byte) bool {
	head, err := c.request.Parse(data)
	size := head + int(min(c.request.ContentLength, requestSize+1))
	switch {
	case err == http1.ErrIncomplete && len(data) < headSize:
		c.keep(data)
		return true
	case err != nil || size > requestSize || !bytes.HasPrefix(c.request.Target, []byte(Prefix)):
		c.handOver(data)
		return false
	case len(data) < size:
		c.wanted = size
		c.keep(data)
		return true
	}
	e, err := c.newExchange()
	if err != nil {
		c.handOver(data)
		return false
	}
	e.take(data, head, size)
	e.launch()
	return true
}

// take takes the body of the request, which is data[head:size], and leaves the
// client what follows it. A large one is not copied: the buffer goes with it.
func (e *exchange) take(data []byte, head, size int) {
	c, loop := e.client, e.client.loop
	e.body = data[head:size]
	kept, rest := c.buf, data[size:]
	switch {
	case len(e.body) == 0:
	case len(e.body) <= joinSize:
		e.body = append(loop.buffer(), e.body...)
		e.buffer = e.body
	case len(kept) == 0:
		e.buffer, loop.in = loop.in, loop.large()
	default:
		e.buffer, kept = c.buf, nil
	}
	if len(rest) == 0 && cap(kept) > headSize {
		loop.putBuffer(kept)
		kept = nil
	}
	c.buf = append(kept[:0], rest...)
	c.seen, c.wanted = 0, 0
}

// answered is called after a call; keep tells whether there may be another one
// on this connection.
func (c *client) answered(keep bool) {
	c.exchange = nil
	switch {
	case c.fd < 0:
	case keep && !c.loop.lane.closing.Load():
		c.enter(idle, idleTime)
		c.step()
	default:
		c.phase = lastWords // until the call's deadline, if it has one
		c.step()
	}
}

// linger ends the stream to the client, and the connection if there is nothing
// more to be read.
func (c *client) linger() {
	if len(c.buf) == 0 && !c.readable {
		c.close()
		return
	}
	c.buf = nil
	_ = syscall.Shutdown(int(c.fd), syscall.SHUT_WR)
	c.enter(lingering, lingerTime)
	c.discard()
}

// discard reads what a client still sends.
func (c *client) discard() {
	for range turn {
		if _, err := c.read(c.loop.in); err == errWouldBlock {
			return
		} else if err != nil {
			c.close()
			return
		}
	}
	c.loop.later(&c.socket)
}

// handOver gives the connection to net/http, with all that was read.
func (c *client) handOver(data []byte) {
	prefix := slices.Clone(data)
	fd := c.fd
	c.loop.forget(&c.socket)
	c.fd = -1
	c.leave()
	conn, err := attach(fd)
	if err != nil {
		c.loop.lane.gateway.Log.Warn("a connection had to be closed", "client", c.remote, "error", err)
		return
	}
	go c.loop.lane.rest.put(&restConn{Conn: conn, prefix: prefix})
}

// closeIfIdle closes the connection if no call is under way.
func (c *client) closeIfIdle() {
	if c.phase < inCall {
		c.close()
	}
}

func (c *client) close() {
	c.socket.close()
	c.leave()
}

func (c *client) leave() {
	if _, there := c.loop.clients[c]; there {
		delete(c.loop.clients, c)
		c.loop.timers.drop(&c.timer)
		c.loop.left()
	}
	if e := c.exchange; e != nil {
		e.cut()
	}
}
