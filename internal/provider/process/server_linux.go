package process

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"lofn"
)

// server is a replica in mode http: one process that listens by itself.
type server struct {
	*cell
	child *child
	pump  *pump
	port  int
	done  chan struct{}
	err   error

	network, address string
}

// startServer starts the process, or finds one that has, and waits until it
// listens.
func (m *linux) startServer(ctx context.Context, p *program) (instance, error) {
	defer m.standby.starting()()
	s := m.standby.become(p)
	if s == nil {
		var err error
		if s, err = m.newServer(p); err != nil {
			return nil, err
		}
	}
	go s.end()
	if err := s.await(ctx); err != nil {
		s.kill()
		<-s.done
		// That it ended by itself says more than that it did not listen.
		if errors.Is(err, errExited) {
			return nil, s.err
		}
		return nil, err
	}
	s.forgo(&s.handles.namespace)
	return s, nil
}

// newServer starts the process.
func (m *linux) newServer(p *program) (*server, error) {
	c, err := m.open(p)
	if err != nil {
		return nil, err
	}
	s := &server{cell: c, done: make(chan struct{})}
	if s.port, err = m.ports.acquire(); err != nil {
		c.close()
		return nil, err
	}
	s.startup.Prepare = time.Since(p.began)
	if err := s.launch(); err != nil {
		m.ports.release(s.port)
		c.close()
		return nil, err
	}
	return s, nil
}

func (s *server) launch() error {
	p, output, err := newPump(s.machine.Logs.Writer(s.fn.Ref, s.id))
	if err != nil {
		return err
	}
	defer output.Close()
	attr := &syscall.ProcAttr{
		Dir:   s.dir,
		Files: []uintptr{s.machine.null.Fd(), output.Fd(), output.Fd()},
		Env:   s.variables(),
	}
	err = s.inside(func(sys *syscall.SysProcAttr) (err error) {
		attr.Sys = sys
		s.child, err = launch(s.exec, s.watchdog.Process, attr)
		return err
	})
	if err != nil {
		return errors.Join(s.explain(err), p.abandon())
	}
	s.startup.Exec = s.child.started.Sub(s.began) - s.startup.Prepare
	s.machine.adopt(s.child.pid)
	s.pump = p
	go p.run(s.machine.buffers)
	return nil
}

// variables is the environment of the process.
func (s *server) variables() []string {
	port := strconv.Itoa(s.port)
	return s.environ(map[string]string{
		lofn.EnvSocket:   filepath.Join(s.sockets, s.socket()),
		lofn.EnvPort:     port,
		lofn.EnvHTTPPort: port,
	})
}

// socket is a name that no other replica uses, so that a dialer that is late
// cannot reach another through a handle that was used again.
func (s *server) socket() string { return s.id + socketSuffix }

// end waits for the process to end, clears up and says why.
func (s *server) end() {
	<-s.child.exited
	select {
	case <-s.pump.done:
	case <-time.After(time.Second):
		// Somebody else holds the other end of the pipe.
		_ = s.pump.from.Close()
		<-s.pump.done
	}
	how := s.child.fate()
	if words := s.pump.tail.LastWords(); words != "" {
		how += "; last words: " + words
	}
	s.err = s.cell.fate(how)
	s.machine.ports.release(s.port)
	s.close()
	s.ended(s.child.cpu())
	close(s.done)
}

func (s *server) Address() (network, address string) { return s.network, s.address }
func (s *server) Done() <-chan struct{}              { return s.done }
func (s *server) Err() error                         { return s.err }

// Stop implements fleet.Instance.
func (s *server) Stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.grace)
	defer cancel()
	if ctx.Err() == nil {
		s.child.terminate()
	}
	select {
	case <-s.child.exited:
	case <-ctx.Done():
		s.kill()
	}
	<-s.done
}

func (s *server) kill() {
	if !s.machine.isolated() {
		s.child.signal(-s.child.pid, syscall.SIGKILL)
	}
	s.child.signal(s.child.pid, syscall.SIGKILL)
}

func (s *server) consumed() (cpu time.Duration, memory int64) {
	select {
	case <-s.child.exited:
		return s.child.cpu(), 0
	default:
	}
	for _, pid := range family(s.child.pid) {
		c, m := spent(pid)
		cpu, memory = cpu+c, memory+m
	}
	return cpu, memory
}

// abandon closes a pump that never ran.
func (p *pump) abandon() error { return errors.Join(p.from.Close(), io.Closer(p.to).Close()) }
