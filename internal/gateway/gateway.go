// Package gateway is the front door for calls: it finds the function that a
// path names, sets the call's one deadline, marks the request as the OpenFaaS
// contract says, and hands it on.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"lofn"
	"lofn/internal/problem"
)

// Prefix is where the gateway's paths begin, AsyncPrefix where those of calls
// that nobody waits for do.
const (
	Prefix      = "/function/"
	AsyncPrefix = "/async-function/"
)

// caller makes one call to one replica.
type caller interface {
	Call(lofn.Ref, *http.Request) (*http.Response, error)
}

// functions tells what is deployed.
type functions interface {
	// Policy returns what a function says about its calls.
	Policy(lofn.Ref) (*lofn.Policy, bool)
}

// meter counts calls of deployed functions.
type meter interface {
	// Started is told at the start of a call; the function it returns at the
	// end, with the status answered, or with 0 if the call starts over.
	Started(lofn.Ref) (ended func(status int, took time.Duration))
}

// Config is what a Gateway works with. Queue is nil if there is none.
type Config struct {
	Caller    caller
	Functions functions
	Meter     meter
	Queue     queue
	// Release is lofn's version, for the headers that name it.
	Release string
	Log     *slog.Logger
}

// Gateway is the http.Handler for paths under Prefix, and Async that for paths
// under AsyncPrefix.
type Gateway struct {
	Config
	proxy *httputil.ReverseProxy
	// complained is when it last logged that the queue takes no calls.
	complained atomic.Int64
	// agent and servedBy are how it names itself to functions and to clients.
	agent, servedBy string
}

// New returns a Gateway.
func New(c Config) *Gateway {
	g := &Gateway{Config: c, agent: "lofn-gateway/" + c.Release, servedBy: "lofn/" + c.Release}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:        g.rewrite,
		Transport:      roundTripper(g.send),
		ModifyResponse: g.answer,
		ErrorHandler:   g.fail,
		// No FlushInterval: the proxy passes on at once what has no announced
		// length, and what is an event stream; the rest need not be hurried.
		BufferPool: newBuffers(),
		ErrorLog:   slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
	return g
}

// call is what the gateway knows of a request while it is under way.
type call struct {
	ref   lofn.Ref
	path  string // escaped, as the function gets it
	id    string
	start time.Time
	// timeout is how long the call may take, 0 for no limit, and setBy what
	// says so.
	timeout time.Duration
	setBy   string
	// stream is set for a call that may have no end by itself.
	stream bool

	policy *lofn.Policy
	// origin is the page that calls, if it is one.
	origin string
	// overrun is set when the request's body turns out to be too large.
	overrun atomic.Bool
}

func newCall(ref lofn.Ref, id string) *call {
	if id == "" {
		id = uuid.NewString()
	}
	c := new(call)
	c.open(ref, id)
	return c
}

func (c *call) open(ref lofn.Ref, id string) { c.ref, c.id, c.start = ref, id, time.Now() }

type callKey struct{}

func callOf(r *http.Request) *call { return r.Context().Value(callKey{}).(*call) }

func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := g.route(r)
	if c != nil && c.isPreflight(r) {
		g.answerPreflight(w, r, c)
		return
	}
	if err != nil {
		c.share(w.Header())
		g.refuse(w, r, err)
		return
	}
	ctx, cancel := c.context(r.Context())
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = c.limited(r.Body)

	ended := g.Meter.Started(c.ref)
	status := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	// Deferred, since the proxy ends a broken response by panicking.
	defer func() { ended(status.status, time.Since(c.start)) }()
	both, end := openBothWays(status, r)
	defer end()
	g.proxy.ServeHTTP(status, both)
}

// route finds the function that the path names, and the call's deadline.
func (g *Gateway) route(r *http.Request) (*call, error) {
	c, err := g.find(r, Prefix, r.Header.Get(lofn.HeaderCallID))
	if err != nil {
		return nil, err
	}
	if u := r.Header.Get("Upgrade"); strings.Trim(u, printable) != "" {
		return nil, lofn.Errorf(lofn.Invalid, "Upgrade: %q names no protocol", u)
	}
	c.stream = asksForStream(r.Header)
	if err := c.bound(c.policy, r.Header.Get(lofn.HeaderTimeout)); err != nil {
		return c, err
	}
	if isGRPC(r) {
		c.limitGRPC(r.Header.Get(headerGRPCTimeout))
	}
	return c, c.checkLength(r)
}

// find returns the call of the function that the path names after the prefix.
func (g *Gateway) find(r *http.Request, prefix, id string) (*call, error) {
	name, path, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), prefix), "/")
	ref := lofn.ParseHost(name)
	policy, ok := g.Functions.Policy(ref)
	if !ok {
		return nil, lofn.Errorf(lofn.NotFound, "error finding function %s: it is not deployed in namespace %q", ref, ref.Namespace)
	}
	c := newCall(ref, id)
	c.policy, c.path, c.origin = policy, "/"+path, r.Header.Get("Origin")
	return c, nil
}

// started is when the call began, as the contract's header has it.
func (c *call) started() string { return strconv.FormatInt(c.start.UnixNano(), 10) }

// rewrite makes the function's request of the client's.
func (g *Gateway) rewrite(p *httputil.ProxyRequest) {
	c := callOf(p.In)
	out := p.Out
	out.URL = &url.URL{RawPath: c.path, RawQuery: p.In.URL.RawQuery, ForceQuery: p.In.URL.ForceQuery}
	passTrailers(p.In, out)
	// A body that the function refuses to be sent is sent for the connection's
	// sake, unless that is to end.
	out.Close = out.Header.Get("Expect") != ""
	// The path came out of a parsed URL, so it can be unescaped.
	out.URL.Path, _ = url.PathUnescape(c.path)
	out.Host = p.In.Host

	h := out.Header
	dropH2C(h)
	for _, name := range []string{lofn.HeaderForwardedFor, lofn.HeaderForwardedHost, "X-Forwarded-Proto", "Forwarded"} {
		if values, ok := p.In.Header[name]; ok {
			h[name] = values
		}
	}
	setDefault(h, lofn.HeaderForwardedFor, p.In.RemoteAddr)
	setDefault(h, lofn.HeaderForwardedHost, p.In.Host)
	if p.In.TLS != nil {
		setDefault(h, "X-Forwarded-Proto", "https")
	}
	setDefault(h, "User-Agent", g.agent)
	h.Set(lofn.HeaderCallID, c.id)
	h.Set(lofn.HeaderStartTime, c.started())
	if c.timeout > 0 {
		h.Set(lofn.HeaderTimeout, c.remaining())
	}
}

func setDefault(h http.Header, name, value string) {
	if h.Get(name) == "" {
		h.Set(name, value)
	}
}

func (g *Gateway) send(r *http.Request) (*http.Response, error) {
	return g.Caller.Call(callOf(r).ref, r)
}

// answer completes the function's response.
func (g *Gateway) answer(resp *http.Response) error {
	c := callOf(resp.Request)
	h := resp.Header
	g.sign(h, c)
	setDefault(h, lofn.HeaderDurationSeconds, c.took())
	if h.Get("Content-Type") == "" && resp.ContentLength != 0 {
		h.Set("Content-Type", contentType(resp.Request.Header.Get("Content-Type")))
	}
	if isGRPC(resp.Request) {
		resp.Body = &grpcBody{resp.Body, resp}
	}
	return nil
}

// sign gives an answer the headers that every call is answered with.
func (g *Gateway) sign(h http.Header, c *call) {
	h.Set(lofn.HeaderCallID, c.id)
	h.Set(lofn.HeaderStartTime, c.started())
	h.Set(lofn.HeaderServedBy, g.servedBy)
	c.share(h)
}

// took is how long the call took until now, in seconds.
func (c *call) took() string {
	return strconv.FormatFloat(time.Since(c.start).Seconds(), 'f', 6, 64)
}

// contentType is the type of an answer that names none, to a request with the
// type given.
func contentType(request string) string {
	if request != "" {
		return request
	}
	return "text/plain"
}

// statusClientGone is what nginx logs when the client left before the answer.
const statusClientGone = 499

// fail answers for a call that has no response.
func (g *Gateway) fail(w http.ResponseWriter, r *http.Request, err error) {
	c := callOf(r)
	g.sign(w.Header(), c)
	if c.overrun.Load() {
		g.refuse(w, r, c.tooLarge())
		return
	}
	w.(*statusWriter).body.discard(r)
	if lofn.CodeOf(err) == lofn.Unreachable && brokenBody(w) == nil && r.Context().Err() == nil {
		g.Log.Warn("a function broke a call off", "function", c.ref, "call", c.id, "reason", errors.Unwrap(err))
	}
	switch {
	case r.Context().Err() == context.Canceled:
		w.WriteHeader(statusClientGone)
	case r.Context().Err() != nil && lofn.CodeOf(err) != lofn.DeadlineExceeded:
		g.refuse(w, r, c.expired())
	case brokenBody(w) != nil:
		g.refuse(w, r, lofn.Errorf(lofn.Invalid, "the body of the request cannot be read: %w", brokenBody(w)))
	default:
		g.refuse(w, r, err)
	}
}

// refuse answers in the name of the platform.
func (g *Gateway) refuse(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set(lofn.HeaderInternal, "gateway")
	if isGRPC(r) {
		refuseGRPC(w, err)
		return
	}
	problem.Write(w, r, g.Log, err)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// buffers lends the proxy the memory that it copies bodies through.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

func newBuffers() *buffers {
	return &buffers{pool: sync.Pool{New: func() any { return new([bufferSize]byte) }}}
}

func (b *buffers) Get() []byte { return b.pool.Get().(*[bufferSize]byte)[:] }

func (b *buffers) Put(p []byte) { b.pool.Put((*[bufferSize]byte)(p)) }
