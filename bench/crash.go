package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"lofn"
)

// crash is what has to be survived while calls are accepted and made.
type crash struct {
	name string
	// begin returns how to do it once, and how to clean up. It may change what
	// the platform is started with from then on.
	begin func(ctx context.Context, p *platform) (once func(context.Context) error, end func(), err error)
}

var crashes = []crash{
	{"`kill -9` of lofn", killPlatform},
	{"`kill -9` of an external nats-server", killNATS},
}

// measureCrashes has calls accepted while the platform, or its NATS server, is
// killed at random again and again, and fails if one was lost or has another
// number of outcomes than one.
func measureCrashes(ctx context.Context, p *platform, o options) error {
	rows := [][]string{{"Meanwhile", "kills", "accepted", "submits that failed", "lost", "with one outcome", "delivered once", "twice", "more often", "seconds"}}
	var failed error
	for _, c := range crashes {
		s, err := p.survive(ctx, c, o)
		if errors.Is(err, exec.ErrNotFound) {
			fmt.Printf("nats-server is not installed, so it is not killed.\n\n")
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		rows = append(rows, append([]string{c.name, fmt.Sprint(o.kills)}, s.row()...))
		if s.lost > 0 || s.settled != len(s.accepted) {
			failed = errors.Join(failed, fmt.Errorf("%s: %d of %d calls lost, %d have their outcome", c.name, s.lost, len(s.accepted), s.settled))
		}
	}
	heading("Accepted means done", "%d calls are submitted by %d clients and made, while something is killed at random moments. A call counts as accepted when its 202 has come. The function reports each delivery over a connection of its own; a call that it was at when it was killed is delivered again.", o.crashCalls, crashClients)
	table(1, rows)
	return failed
}

// crashClients submit calls at a time.
const crashClients = 64

// survival is what became of the calls.
type survival struct {
	mu         sync.Mutex
	accepted   map[string]bool
	deliveries map[string]int
	refused    atomic.Int64

	lost, settled, once, twice, more int
	took                             time.Duration
}

func (s *survival) row() []string {
	return []string{fmt.Sprint(len(s.accepted)), fmt.Sprint(s.refused.Load()), fmt.Sprint(s.lost), fmt.Sprint(s.settled),
		fmt.Sprint(s.once), fmt.Sprint(s.twice), fmt.Sprint(s.more), fmt.Sprintf("%.0f", s.took.Seconds())}
}

// survive submits the calls while the crash happens, and finds out what became
// of them.
func (p *platform) survive(ctx context.Context, c crash, o options) (*survival, error) {
	once, end, err := c.begin(ctx, p)
	if err != nil {
		return nil, err
	}
	defer end()
	s := &survival{accepted: make(map[string]bool), deliveries: make(map[string]int)}
	book, err := s.keepBook()
	if err != nil {
		return nil, err
	}
	defer book.Close()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	submitted := make(chan error, 1)
	go func() { submitted <- s.submit(ctx, p, o.crashCalls, book.Addr) }()
	if err := s.interrupt(ctx, once, o); err != nil {
		return nil, err
	}
	if err := <-submitted; err != nil {
		return nil, err
	}
	if _, err := p.idle(ctx, isBench); err != nil {
		return nil, err
	}
	s.took = time.Since(start)
	return s, s.verify(ctx, p)
}

// interrupt does it as often as is wanted: each time at a random call of those
// that are this time's part.
func (s *survival) interrupt(ctx context.Context, once func(context.Context) error, o options) error {
	for kill := range o.kills {
		at := (float64(kill) + rand.Float64()) / float64(o.kills) * float64(o.crashCalls)
		for s.count() < int(at) {
			if err := pause(ctx, time.Millisecond); err != nil {
				return err
			}
		}
		if err := once(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *survival) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.accepted)
}

// keepBook listens for what the function reports.
func (s *survival) keepBook() (*http.Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Addr: listener.Addr().String(), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.deliveries[r.URL.Query().Get("id")]++
	})}
	go func() { _ = server.Serve(listener) }()
	return server, nil
}

// submit submits calls until so many are accepted.
func (s *survival) submit(ctx context.Context, p *platform, calls int, book string) error {
	transport := &http.Transport{MaxIdleConnsPerHost: crashClients}
	defer transport.CloseIdleConnections()
	url := p.url + "/async-function/bench/report?to=http://" + book
	var begun atomic.Int64
	var work sync.WaitGroup
	for range crashClients {
		work.Go(func() {
			for ctx.Err() == nil && begun.Add(1) <= int64(calls) {
				id, err := submitOne(ctx, transport, url)
				if err != nil {
					s.refused.Add(1)
					begun.Add(-1)
					_ = pause(ctx, 10*time.Millisecond)
					continue
				}
				s.mu.Lock()
				s.accepted[id] = true
				s.mu.Unlock()
			}
		})
	}
	work.Wait()
	return ctx.Err()
}

func submitOne(ctx context.Context, transport *http.Transport, url string) (id string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("body"))
	if err != nil {
		return "", err
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("%s: %s", answer.Status, text)
	}
	return answer.Header.Get(lofn.HeaderCallID), err
}

// verify asks for the outcome of each accepted call.
func (s *survival) verify(ctx context.Context, p *platform) error {
	ids := make(chan string)
	errs := make([]error, crashClients)
	var work sync.WaitGroup
	for client := range errs {
		work.Go(func() {
			for id := range ids {
				if errs[client] == nil {
					errs[client] = s.judge(ctx, p, id)
				}
			}
		})
	}
	for id := range s.accepted {
		ids <- id
	}
	close(ids)
	work.Wait()
	return errors.Join(errs...)
}

// judge finds out what became of a call. It is lost if it is unknown, if it
// did not succeed, or if it is said to have though it never came.
func (s *survival) judge(ctx context.Context, p *platform, id string) error {
	status, err := p.CallDetail(ctx, id)
	if err != nil && lofn.CodeOf(err) != lofn.NotFound {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && status.State.Final() {
		s.settled++
	}
	switch n := s.deliveries[id]; {
	case status.State != lofn.CallSucceeded || n == 0:
		s.lost++
	case n == 1:
		s.once++
	case n == 2:
		s.twice++
	default:
		s.more++
	}
	return nil
}

// killPlatform kills the process that serves, and starts it again.
func killPlatform(_ context.Context, p *platform) (once func(context.Context) error, end func(), err error) {
	return func(ctx context.Context) error { return p.restart(ctx, syscall.SIGKILL) }, func() {}, nil
}

// killNATS starts a nats-server, and the platform anew with its queue there.
func killNATS(ctx context.Context, p *platform) (once func(context.Context) error, end func(), err error) {
	program, err := exec.LookPath("nats-server")
	if err != nil {
		// Where Debian has it, which is in the path of root only.
		if program, err = exec.LookPath("/usr/sbin/nats-server"); err != nil {
			return nil, nil, exec.ErrNotFound
		}
	}
	address, err := freeAddress()
	if err != nil {
		return nil, nil, err
	}
	host, port, _ := strings.Cut(address, ":")
	var server *exec.Cmd
	start := func() error {
		server = exec.Command(program, "-a", host, "-p", port, "-js", "-sd", filepath.Join(p.dir, "nats"))
		return server.Start()
	}
	if err := start(); err != nil {
		return nil, nil, err
	}
	end = func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}
	if err := p.restart(ctx, syscall.SIGTERM, "--nats-url", "nats://"+address); err != nil {
		end()
		return nil, nil, err
	}
	return func(context.Context) error {
		end()
		return start()
	}, end, nil
}
