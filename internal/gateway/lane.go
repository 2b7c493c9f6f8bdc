package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"lofn"
)

// leases lends replicas.
type leases interface {
	// TryLease is Lease without the waiting.
	TryLease(lofn.Ref) (lofn.Lease, bool)
	Lease(context.Context, lofn.Ref) (lofn.Lease, error)
	// Again is Lease for a call whose replica did not take it.
	Again(context.Context, lofn.Ref) (lofn.Lease, error)
}

// Lane is a second door to the same functions, for plain calls: requests in
// HTTP/1.1 that leave nothing to interpretation, with a body that fits into a
// buffer. It serves them in a few event loops, without a goroutine for each
// connection. Everything else it leaves to the Gateway: a connection with
// anything unusual on it goes to the listener Rest, with every byte that was
// read from it, and stays there. What a call means is the same through both
// doors. On systems without the event loops all connections go to Rest.
type Lane struct {
	gateway *Gateway
	leases  leases
	rest    *restListener
	// closing is set by Shutdown: every answer is the last on its connection.
	closing atomic.Bool

	mu       sync.Mutex
	listener net.Listener
	loops    []*loop
}

// NewLane returns a lane before the gateway.
func NewLane(g *Gateway, pool leases) *Lane {
	return &Lane{gateway: g, leases: pool, rest: newRestListener()}
}

const (
	// requestSize bounds a request, body included, that the lane takes: a
	// buffer's worth for each call under way.
	requestSize = 72 << 10
	// headSize bounds the head of a request that the lane takes.
	headSize = 16 << 10

	// headTime and idleTime are those of the http.Server behind the lane;
	// bodyTime is how long the lane waits for a body by itself, with a buffer
	// for all of it.
	headTime = 30 * time.Second
	idleTime = 2 * time.Minute
	bodyTime = time.Second
	// lingerTime is how long a connection that is being closed is read from, so
	// that the client gets what was sent to it: closed at once with unread
	// bytes it would be reset.
	lingerTime = 500 * time.Millisecond
	// patience is how long a call goes on after its client sent the end of its
	// stream: some do that with the request, and still read.
	patience = 5 * time.Millisecond
)

// Rest is where an http.Server finds the connections that are not for the
// lane.
func (l *Lane) Rest() net.Listener { return l.rest }

// Serve accepts connections until Shutdown, upon which it returns
// http.ErrServerClosed, or until the listener breaks.
func (l *Lane) Serve(listener net.Listener) error {
	if err := l.begin(listener); err != nil {
		return err
	}
	if len(l.loops) > 0 {
		return l.wait()
	}
	for {
		conn, err := listener.Accept()
		switch {
		case err == nil:
			l.rest.put(conn)
		case l.closing.Load():
			return http.ErrServerClosed
		default:
			return err
		}
	}
}

func (l *Lane) begin(listener net.Listener) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing.Load() {
		return http.ErrServerClosed
	}
	l.listener = listener
	l.loops, err = startLoops(l, listener)
	return err
}

// wait returns when the loops have ended.
func (l *Lane) wait() error {
	for _, loop := range l.loops {
		loop.wait()
	}
	return http.ErrServerClosed
}

// Drain has connections leave the lane: it takes no new ones, those that wait
// for a request go to Rest at once, the others after the answer under way. When
// it returns, none waits in the lane any more.
func (l *Lane) Drain() {
	l.mu.Lock()
	loops := l.loops
	l.mu.Unlock()
	for _, loop := range loops {
		loop.drain()
	}
}

// Shutdown takes no new connections, closes the idle ones, and waits for the
// calls under way, until ctx ends.
func (l *Lane) Shutdown(ctx context.Context) (err error) {
	l.mu.Lock()
	l.closing.Store(true)
	if l.listener != nil {
		l.listener.Close()
	}
	loops := l.loops
	l.mu.Unlock()
	for _, loop := range loops {
		loop.shutdown()
	}
	for _, loop := range loops {
		if !loop.drained(ctx) {
			err = ctx.Err()
		}
	}
	for _, loop := range loops {
		loop.stop()
	}
	return err
}
