package watchdog

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server serves a watchdog on a listener through two doors with one meaning.
// In mode http, plain calls take the short way: requests in HTTP/1.1 that leave
// nothing to interpretation, with a body that fits into a buffer. As soon as
// something on a connection is out of the ordinary it goes to net/http, with
// every byte that was read from it, and stays there.
type Server struct {
	watchdog *Watchdog
	rest     *http.Server
	fast     bool
	handed   *handedOver
	idle     idleConns
	buffers  sync.Pool // *[]byte of answerSize, for what the function sends
	outs     sync.Pool // *[]byte, for what is written

	mu       sync.Mutex
	listener net.Listener
	closing  bool
	killed   bool
	fronts   map[*front]net.Conn // the connection to the function, or nil while it waits for a request
	done     sync.WaitGroup
}

// NewServer returns a server in which rest, whose handler ends in w, takes what
// is not for the short way.
func NewServer(w *Watchdog, rest *http.Server) *Server {
	u := w.config.Upstream
	s := &Server{
		watchdog: w, rest: rest, handed: newHandedOver(), fronts: make(map[*front]net.Conn),
		fast:    w.config.Mode == HTTP && w.options.Guard == nil && (u.Path == "" || u.Path == "/"),
		buffers: sync.Pool{New: func() any { return new(make([]byte, answerSize)) }},
		outs:    sync.Pool{New: func() any { return new(make([]byte, 0, answerSize)) }},
	}
	// Calls may outlive Serve, so this stays until the watchdog's end.
	context.AfterFunc(w.life, s.kill)
	return s
}

// Serve accepts connections until Shutdown or Close, upon which it returns
// http.ErrServerClosed, or until the listener breaks.
func (s *Server) Serve(l net.Listener) error {
	if !s.fast {
		return s.rest.Serve(l)
	}
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	rest := make(chan struct{})
	go func() {
		defer close(rest)
		_ = s.rest.Serve(s.handed) // ends by being closed, below or by Shutdown
	}()
	err := s.accept(l)
	_ = s.handed.Close()
	<-rest
	return err
}

func (s *Server) accept(l net.Listener) error {
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			c := &front{Conn: conn, server: s}
			if !s.enter(c) {
				conn.Close()
				continue
			}
			go c.serve()
		case s.isClosing():
			return http.ErrServerClosed
		case !passing(err):
			return err
		}
	}
}

// passing reports, after a moment, whether it is worth to accept again: the
// machine was out of descriptors, or the client gave up.
func passing(err error) bool {
	var temporary interface{ Temporary() bool }
	if !errors.As(err, &temporary) || !temporary.Temporary() {
		return false
	}
	<-time.After(5 * time.Millisecond)
	return true
}

// Shutdown takes no new connections, closes the idle ones and waits for the
// calls at work, until ctx ends. Upgraded connections are left to
// Watchdog.Shutdown.
func (s *Server) Shutdown(ctx context.Context) error {
	s.close(false)
	quiet := make(chan struct{})
	go func() { s.done.Wait(); close(quiet) }()
	select {
	case <-quiet:
	case <-ctx.Done():
	}
	s.idle.close()
	return s.rest.Shutdown(ctx)
}

// Close ends all connections at once.
func (s *Server) Close() error {
	s.close(true)
	s.idle.close()
	return s.rest.Close()
}

func (s *Server) close(all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	if s.listener != nil {
		s.listener.Close()
	}
	for c, busy := range s.fronts {
		switch {
		case all:
			c.Close()
		case busy == nil:
			_ = c.SetReadDeadline(past)
		}
	}
}

// past is a deadline that ends at once what waits.
var past = time.Unix(1, 0)

// kill breaks off the calls at work.
func (s *Server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killed = true
	for _, up := range s.fronts {
		if up != nil {
			_ = up.SetDeadline(past)
		}
	}
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Server) isKilled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.killed
}

func (s *Server) enter(c *front) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.fronts[c] = nil
	s.done.Add(1)
	return true
}

func (s *Server) leave(c *front) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.fronts, c)
	s.done.Done()
}

// mark notes which connection to the function a client's call uses, nil for
// none, and reports whether the server goes on.
func (s *Server) mark(c *front, up net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fronts[c] = up
	if up != nil && s.killed {
		_ = up.SetDeadline(past)
	}
	return !s.closing
}
