package gateway

import (
	"bytes"
	"context"
	"errors"
	"syscall"
	"time"

	"lofn"
	"lofn/internal/http1"
)

// exchange is one call through the lane.
type exchange struct {
	call
	client *client
	// head is that of the request as the function gets it. In it, left is where
	// the time that is left stands, and contentType the client's Content-Type.
	head              []byte
	left, contentType span
	// body is the request's, and buffer what it is in.
	body, buffer []byte
	// bodyless is set for HEAD; repeatable if the request may reach the
	// function twice (RFC 9110, 9.2.2).
	bodyless, repeatable bool
	// keep is whether the client's connection is to go on.
	keep bool
	// ended is told how the call ended.
	ended func(status int, took time.Duration)
	// stopWaiting ends the wait for a replica, if there is one.
	stopWaiting context.CancelFunc
	lease       lofn.Lease
	upstream    *upstream
	attempts    int
	// admitted is set once the call had a lease.
	admitted bool
	reply    reply
	over     bool
	// shared is set once something besides the loop may know of the exchange.
	shared bool
}

// span is a part of a buffer.
type span struct{ start, end int }

var (
	// errRest says that the request is not for the lane.
	errRest = errors.New("gateway: not for the fast lane")
	// errUnsent says that the function got no byte of the request.
	errUnsent = errors.New("the connection ended before the request")
	// errNoAnswer says that the connection to the function ended before the
	// first byte of an answer.
	errNoAnswer = errors.New("the connection ended before an answer")
	// errHalfHead says that it ended in the head of one.
	errHalfHead = errors.New("the connection ended in the head of its answer")
)

const (
	// attempts bounds how often a call that nobody answered is made again.
	attempts = 3
	// busyPause is how long a replica with too many connections is left alone.
	busyPause = time.Millisecond
)

// newExchange finds the function of the client's request, as Gateway.route
// does, and makes the function's request of it. Whatever would be answered with
// an error is not for the lane.
func (c *client) newExchange() (*exchange, error) {
	r := &c.request
	name := r.Target[len(Prefix):]
	if end := bytes.IndexAny(name, "/?"); end >= 0 {
		name = name[:end]
	}
	if bytes.IndexByte(name, '%') >= 0 {
		return nil, errRest
	}
	ref := c.refOf(name)
	policy, ok := c.loop.lane.gateway.Functions.Policy(ref)
	if !ok || len(policy.Origins) > 0 || policy.MaxBody > 0 && r.ContentLength > policy.MaxBody {
		return nil, errRest
	}
	id := string(http1.Value(r.Headers, http1.CallID))
	if id == "" {
		id = c.loop.newID()
	}
	e := c.loop.exchange()
	e.client, e.keep = c, r.KeepAlive
	e.open(ref, id)
	e.stream = acceptsStream(accepted(r.Headers))
	if e.bound(policy, string(http1.Value(r.Headers, http1.Timeout))) != nil {
		return nil, errRest
	}
	method := string(r.Method)
	e.bodyless, e.repeatable = method == "HEAD", method != "POST" && method != "PATCH"
	e.head = e.appendHead(c.loop.buffer(), r.Target[len(Prefix)+len(name):])
	return e, nil
}

// refOf is lofn.ParseHost, but for a client that calls the same function again.
func (c *client) refOf(name []byte) lofn.Ref {
	if string(name) != c.name {
		c.name = string(name)
		c.ref = lofn.ParseHost(c.name)
	}
	return c.ref
}

// launch begins the call.
func (e *exchange) launch() {
	c := e.client
	c.exchange, c.phase = e, inCall
	c.loop.timers.set(&c.timer, e.deadline())
	e.ended = c.loop.lane.gateway.Meter.Started(e.ref)
	e.lend()
}

// lend takes a lease, or waits for one.
func (e *exchange) lend() {
	if e.over {
		return
	}
	lane := e.client.loop.lane
	if lease, ok := lane.leases.TryLease(e.ref); ok {
		e.use(lease)
		return
	}
	ctx, cancel := e.context(context.Background())
	e.stopWaiting, e.shared = cancel, true
	wait := lane.leases.Lease
	if e.admitted {
		wait = lane.leases.Again
	}
	go func() {
		defer cancel()
		lease, err := wait(ctx, e.ref)
		if !e.client.loop.post(func() { e.lent(lease, err) }) && err == nil {
			lease.Release()
		}
	}()
}

// lent ends the wait for a replica.
func (e *exchange) lent(lease lofn.Lease, err error) {
	e.stopWaiting = nil
	switch {
	case e.over && err == nil:
		lease.Release()
	case e.over:
	case err != nil:
		e.fail(err)
	default:
		e.refresh()
		e.use(lease)
	}
}

// refresh tells the function how much time is left after a wait.
func (e *exchange) refresh() {
	if e.timeout == 0 {
		return
	}
	loop, old := e.client.loop, e.head
	b := append(loop.buffer(), old[:e.left.start]...)
	b = append(b, e.remaining()...)
	e.head, e.left.end = append(b, old[e.left.end:]...), len(b)
	loop.putBuffer(old)
}

// use makes the call with a lease.
func (e *exchange) use(lease lofn.Lease) {
	e.lease, e.admitted = lease, true
	u, err := e.client.loop.reach(lease.Replica(), e.repeatable)
	switch {
	case err == nil:
		e.upstream, u.exchange = u, e
		if !u.connecting {
			e.transmit()
		}
	case errors.Is(err, errBusy):
		e.letGo(false)
		e.shared = true
		time.AfterFunc(busyPause, func() { e.client.loop.post(e.lend) })
	case errors.Is(err, errForeign), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		e.fail(err)
	default:
		e.refused()
	}
}

// refused goes on with another replica: this one has not seen the call.
func (e *exchange) refused() {
	e.lease.Refused()
	e.letGo(false)
	e.lend()
}

// transmit sends the request.
func (e *exchange) transmit() {
	sent, err := e.upstream.write(e.head, e.body)
	if err == nil {
		return
	}
	if !sent {
		e.broken(errUnsent)
		return
	}
	// It may have answered before it closed.
	e.upstream.readable = true
	e.receive()
}

// broken deals with a connection that ended before the answer began.
func (e *exchange) broken(err error) {
	e.attempts++
	again := err == errUnsent || err == errNoAnswer && e.repeatable
	if e.attempts < attempts && again {
		// If the replica died, so did the other connections to it.
		e.upstream.home.closeAll()
		e.letGo(false)
		e.refresh()
		e.lend()
		return
	}
	e.fail(err)
}

// letGo gives back the connection, to be used again or not, and the lease.
func (e *exchange) letGo(reuse bool) {
	if u := e.upstream; u != nil {
		e.upstream = nil
		if reuse {
			u.home.put(u)
		} else {
			u.close()
		}
	}
	if e.lease != nil {
		e.lease.Release()
		e.lease = nil
	}
}

// tick is called when the call's time is over, or the patience with a client
// that sent the end of its stream.
func (e *exchange) tick() {
	switch {
	case e.timeout == 0 || time.Now().Before(e.deadline()):
		e.abandon()
	case e.stopWaiting != nil:
		// Who waits knows better what for, and is told at the same time.
		e.client.enter(inCall, time.Second)
	case e.reply.begun:
		e.client.close()
	default:
		e.fail(e.expired())
	}
}

// clientEnded deals with a client that sent the end of its stream: it left, or
// it has just nothing more to say.
func (e *exchange) clientEnded() {
	if grace := patience - time.Since(e.start); grace > 0 && !e.client.dead {
		e.client.enter(inCall, grace)
		return
	}
	e.abandon()
}

// abandon ends a call whose client has left.
func (e *exchange) abandon() { e.client.close() }

// cut ends the call with the client's connection.
func (e *exchange) cut() {
	status := statusClientGone
	if e.reply.begun {
		status = e.reply.status
	}
	e.end(status, false)
}

// end counts the call, and gives back all that it has.
func (e *exchange) end(status int, reuse bool) {
	if e.over {
		return
	}
	e.over = true
	if e.stopWaiting != nil {
		e.stopWaiting()
	}
	e.letGo(reuse)
	e.client.exchange = nil
	e.client.loop.putBuffer(e.head)
	e.client.loop.putBuffer(e.buffer)
	e.head, e.body, e.buffer = nil, nil, nil
	e.ended(status, time.Since(e.start))
	e.client.loop.retire(e)
}
