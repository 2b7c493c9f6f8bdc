package app_test

import (
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lofn"
)

// natsServer is Debian's nats-server as a process.
type natsServer struct {
	*testing.T
	address, dir string
	cmd          *exec.Cmd
	output       said
}

// newNATS prepares a server that does not run yet. Without the program the test
// is skipped.
func newNATS(t *testing.T) *natsServer {
	t.Helper()
	if _, err := exec.LookPath("nats-server"); err != nil {
		t.Skip("nats-server is not installed: apt install nats-server")
	}
	s := &natsServer{T: t, address: freeAddress(t), dir: t.TempDir()}
	t.Cleanup(s.kill)
	return s
}

func (s *natsServer) url() string { return "nats://" + s.address }

// run starts the server, anew if it was killed, and waits until it listens.
func (s *natsServer) run(p *platform, args ...string) {
	s.Helper()
	host, port, _ := strings.Cut(s.address, ":")
	s.cmd = exec.Command("nats-server", append([]string{"-a", host, "-p", port}, args...)...)
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if err := s.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	p.eventually("nats-server listens", func() bool {
		conn, err := net.Dial("tcp", s.address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// keeping are the arguments of a server that keeps streams.
func (s *natsServer) keeping() []string { return []string{"-js", "-sd", filepath.Join(s.dir, "data")} }

func (s *natsServer) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

func TestCallsAreKeptByAServerElsewhere(t *testing.T) {
	server, p, s := newNATS(t), newPlatform(t), newPromises(newVisits(t))
	p.nats = server.url()
	p.replaceable()
	p.start()
	p.push("fn:latest", nil)
	p.visiting("fn", nil)
	p.must(200, "GET", "/function/fn", "")
	path := s.path("fn", http.StatusOK)
	status, answer := p.submit("early", path, "")
	if status != http.StatusServiceUnavailable || !strings.Contains(answer, "the queue of asynchronous calls cannot be reached") {
		t.Errorf("without its server: %d %s", status, answer)
	}

	server.run(p, server.keeping()...)
	p.eventually("calls are accepted", func() bool {
		status, _ := p.submit("first", path, strings.Repeat("x", 1<<20))
		return status == http.StatusAccepted
	})
	p.comeTo(lofn.CallSucceeded, "first")

	// The server is killed, with calls under way.
	s.away = true
	s.hold("long")
	p.accept(path, "", "long")
	p.comeTo(lofn.CallRunning, "long")
	end := s.keepSubmitting(p, "killed-server")
	for range 2 {
		<-time.After(200 * time.Millisecond)
		server.kill()
		<-time.After(100 * time.Millisecond)
		server.run(p, server.keeping()...)
	}
	s.free("long")
	p.eventually("calls are accepted again", func() bool {
		status, _ := p.submit("again", path, "")
		return status == http.StatusAccepted
	})
	end()
	p.comeTo(lofn.CallSucceeded, "long", "again")
	ends, twice := s.verify(p)
	t.Logf("%d calls were accepted, of %d it is not known; %d were made more than once", len(ends), len(s.unknown), twice)
	s.once(t, "long", "again")

	// The platform is killed, and what it was doing is done again soon: not only
	// when its lease is over.
	s.hold("interrupted", "also")
	p.accept(path, "", "interrupted", "also")
	p.comeTo(lofn.CallRunning, "interrupted", "also")
	p.kill()
	s.free("interrupted", "also")
	p.start()
	p.within(20*time.Second, "the interrupted calls are made again", func() bool {
		return p.call("interrupted").State == lofn.CallSucceeded && p.call("also").State == lofn.CallSucceeded
	})

	server.kill()
	if code := p.stop(); code != 0 {
		t.Errorf("stopped without its server, the exit code is %d", code)
	}
	server.run(p, server.keeping()...)
	p.start()
	s.hold("upgraded")
	p.accept(path, "", "upgraded")
	p.comeTo(lofn.CallRunning, "upgraded")
	p.upgrade()
	p.comeTo(lofn.CallRunning, "upgraded")
	s.free("upgraded")
	p.comeTo(lofn.CallSucceeded, "upgraded")
	s.once(t, "upgraded")
}

func TestAServerThatCannotKeepCallsIsNamedAtTheStart(t *testing.T) {
	server, p := newNATS(t), newPlatform(t)
	server.run(p)
	p.nats = server.url()
	if said := p.startInVain(); !strings.Contains(said, server.url()) || !strings.Contains(said, "JetStream") {
		t.Errorf("it said: %s", said)
	}
}
