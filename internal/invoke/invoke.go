// Package invoke makes one call to one replica: it takes a lease on the least
// busy one, sends the request over a kept connection, and gives the lease back
// at the end of the response's body. Every road to a function, whoever calls,
// leads through here.
package invoke

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"lofn"
)

// pool lends replicas, and waits until there is one.
type pool interface {
	Lease(ctx context.Context, ref lofn.Ref) (lofn.Lease, error)
	// Again is Lease for a call whose lease came to nothing.
	Again(ctx context.Context, ref lofn.Ref) (lofn.Lease, error)
}

// Caller calls functions. It is safe for concurrent use.
type Caller struct {
	pool      pool
	transport *http.Transport
	h2c       *http.Transport // for gRPC
}

// NewCaller returns a Caller of the pool's replicas.
func NewCaller(p pool) *Caller {
	c := &Caller{pool: p, transport: newTransport(), h2c: newH2C()}
	c.transport.DialContext = dialBulk()
	return c
}

func newTransport() *http.Transport {
	return &http.Transport{
		DialContext: dial,
		// A replica lives on this machine or next to it: idle connections
		// cost little, and opening one costs a good part of a short call.
		MaxIdleConnsPerHost: 1024,
		IdleConnTimeout:     90 * time.Second,
		// The body belongs to the caller and the function, compressed or not.
		DisableCompression: true,
		// What the front door takes of a request.
		MaxResponseHeaderBytes: 1 << 20,
		// Whether the body is wanted at all is the function's to say; one that
		// does not know the question gets it after that time.
		ExpectContinueTimeout: time.Second,
	}
}

// Close closes idle connections.
func (c *Caller) Close() {
	c.transport.CloseIdleConnections()
	c.h2c.CloseIdleConnections()
}

// Call sends the request to a replica of the function and returns its
// response, whose Body the caller must close: that ends the call, as does the
// end of the request's context. The URL's
// scheme and host are overwritten, the Host header is kept. A replica that
// refuses the connection did not see the call, so another one is asked, until
// the request's context ends. A gRPC call that came by HTTP/2 goes on by
// HTTP/2, and every other one by HTTP/1.1. Errors have code NotFound,
// Unavailable, Overloaded, DeadlineExceeded, Unimplemented or Unreachable, or
// are the context's.
func (c *Caller) Call(ref lofn.Ref, req *http.Request) (*http.Response, error) {
	// The transport closes the body on a failed attempt; the next needs it.
	body := req.Body
	if body != nil && body != http.NoBody {
		req.Body = io.NopCloser(body)
	}
	for admit := c.pool.Lease; ; admit = c.pool.Again {
		lease, err := admit(req.Context(), ref)
		if err != nil {
			return nil, err
		}
		resp, err := c.send(lease, req)
		switch {
		case err == nil:
			return resp, nil
		case refused(err):
			lease.Refused()
		case busy(err):
			lease.Release()
			pause(req.Context())
		default:
			lease.Release()
			return nil, explain(req.Context(), ref, lease.Replica(), err)
		}
	}
}

func (c *Caller) send(lease lofn.Lease, req *http.Request) (*http.Response, error) {
	replica := lease.Replica()
	req = req.WithContext(context.WithValue(req.Context(), replicaKey{}, replica))
	req.URL.Scheme = "http"
	// Connections are pooled by URL host: one pool for each replica.
	req.URL.Host = replica.ID
	send := c.transport.RoundTrip
	if needsHTTP2(req) {
		send = c.overHTTP2
	}
	resp, err := send(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols && req.Header.Get("Upgrade") == "" {
		resp.Body.Close()
		return nil, errors.New("it switched protocols, which nobody asked for")
	}
	if resp.StatusCode < http.StatusContinue {
		resp.Body.Close()
		return nil, fmt.Errorf("it answered with the status %03d, which is none", resp.StatusCode)
	}
	resp.Body = releasing(req.Context(), resp.Body, lease)
	return resp, nil
}

type replicaKey struct{}

func dial(ctx context.Context, _, _ string) (net.Conn, error) {
	replica := ctx.Value(replicaKey{}).(lofn.Replica)
	var d net.Dialer
	return d.DialContext(ctx, replica.Network, replica.Address)
}

// refused reports whether there was nobody to connect to, so that no byte was
// sent: whatever the reason, such as the socket of a replica that just died.
func refused(err error) bool {
	return dialing(err) && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, context.Canceled) && !errors.Is(err, os.ErrDeadlineExceeded)
}

// busy reports whether the replica's backlog of connections was full.
func busy(err error) bool {
	return dialing(err) && errors.Is(err, syscall.EAGAIN)
}

func dialing(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// pause lets a full backlog drain a little.
func pause(ctx context.Context) {
	select {
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
	}
}

func explain(ctx context.Context, ref lofn.Ref, replica lofn.Replica, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if unknown := explainHTTP2(ref, replica.ID, err); unknown != nil {
		return unknown
	}
	return lofn.Unreached(ref, replica.ID, err)
}

// releasing gives the lease back when the body is closed, and at the latest
// when the call's context ends: not every proxy closes every body. The body of
// a switched protocol can be written to, which must show.
func releasing(ctx context.Context, body io.ReadCloser, lease lofn.Lease) io.ReadCloser {
	stop := context.AfterFunc(ctx, func() {
		body.Close()
		lease.Release()
	})
	r := &releasingBody{ReadCloser: body, release: func() {
		stop()
		lease.Release()
	}}
	if rw, ok := body.(io.ReadWriteCloser); ok {
		return &releasingStream{r, rw}
	}
	return r
}

type releasingBody struct {
	io.ReadCloser
	once    sync.Once
	release func()
}

// releasingStream is the body of a switched protocol.
type releasingStream struct {
	*releasingBody
	stream io.ReadWriteCloser
}

func (s *releasingStream) Write(p []byte) (int, error) { return s.stream.Write(p) }

// CloseWrite tells the function that nothing more will come from the client.
func (s *releasingStream) CloseWrite() error {
	if half, ok := s.stream.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

func (b *releasingBody) Close() error {
	defer b.once.Do(b.release)
	return b.ReadCloser.Close()
}
