package jetstream_test

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lofn/internal/queue/jetstream"
	store "lofn/internal/store/jetstream"
)

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func openEngine(t testing.TB, dir string) *store.Engine {
	t.Helper()
	engine, err := store.Open(t.Context(), store.Config{Dir: dir, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Close)
	return engine
}

// natsServer is Debian's nats-server as a process.
type natsServer struct {
	program string
	config  string
	url     string
	output  string // the file with what it says
	cmd     *exec.Cmd
}

// startServer starts a server with JetStream in a folder of its own, and with
// what settings add to its configuration. Without the program the test is
// skipped.
func startServer(t testing.TB, settings ...string) *natsServer {
	t.Helper()
	return prepareServer(t, settings...).start(t)
}

func prepareServer(t testing.TB, settings ...string) *natsServer {
	t.Helper()
	program, err := exec.LookPath("nats-server")
	if err != nil {
		// Where Debian has it, and an ordinary user does not look.
		if program, err = exec.LookPath("/usr/sbin/nats-server"); err != nil {
			t.Skip("nats-server is not installed: apt install nats-server")
		}
	}
	dir := t.TempDir()
	address := freeAddress(t)
	if len(settings) == 0 {
		settings = []string{fmt.Sprintf("jetstream { store_dir: %q }", filepath.Join(dir, "data"))}
	}
	config := fmt.Sprintf("listen: %q\n%s\n", address, strings.Join(settings, "\n"))
	s := &natsServer{program: program, config: filepath.Join(dir, "nats.conf"), url: "nats://" + address, output: filepath.Join(dir, "output")}
	if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start starts the server, anew if it was killed, and waits until it listens.
func (s *natsServer) start(t testing.TB) *natsServer {
	t.Helper()
	output, err := os.OpenFile(s.output, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	s.cmd = exec.Command(s.program, "-c", s.config)
	s.cmd.Stdout, s.cmd.Stderr = output, output
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	wait(t, "nats-server listens", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "nats://"))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return s
}

// kill is kill -9. It returns when the process is gone.
func (s *natsServer) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// open opens the log on the server.
func (s *natsServer) open(t testing.TB) *jetstream.Log {
	t.Helper()
	return openLog(t, jetstream.Config{URL: s.url, Log: testLog(t)})
}

func openLog(t testing.TB, c jetstream.Config) *jetstream.Log {
	t.Helper()
	l, err := jetstream.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// wait waits until a condition holds.
func wait(t testing.TB, what string, condition func() bool) {
	t.Helper()
	limit := time.After(60 * time.Second)
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !condition() {
		select {
		case <-look.C:
		case <-limit:
			t.Fatalf("after a minute this does not hold: %s", what)
		}
	}
}
