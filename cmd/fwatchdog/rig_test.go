package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is far more than anything here takes; it ends a test that would
// hang otherwise.
const patience = 30 * time.Second

// The test binary plays three parts: the tests, fwatchdog, and a function that
// speaks HTTP.
func TestMain(m *testing.M) {
	switch os.Getenv("LOFN_TEST_PART") {
	case "watchdog":
		_ = os.Setenv("LOFN_TEST_PART", "function")
		os.Exit(run(os.Args, os.Environ(), os.Stderr))
	case "function":
		os.Exit(function())
	}
	os.Exit(m.Run())
}

// output collects what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// dog is a running watchdog.
type dog struct {
	cmd      *exec.Cmd
	url      string
	address  string
	metrics  string
	upstream string // where its child is to listen, in mode http
	temp     string
	log      output
	exited   chan struct{}
}

// peer names a watchdog's program. The zero value is fwatchdog.
type peer struct {
	name, path string
	// args run fwatchdog by way of the program at path.
	args []string
	// longWay has requests say something by which they are not plain.
	longWay bool
}

func (p peer) ours() bool { return p.path == "" || p.args != nil }

// metricsOfPeers is not for others to choose.
const metricsOfPeers = "127.0.0.1:8081"

// freeAddress returns an address where nobody listens. The port is below those
// that the kernel gives to connections, which could take it meanwhile.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port was found")
	return ""
}

func freeListener(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// launch starts a watchdog. $UPSTREAM in the environment stands for an address
// where nobody listens yet, and becomes dog.upstream.
func launch(t *testing.T, p peer, env ...string) *dog {
	t.Helper()
	d := &dog{address: freeAddress(t), metrics: freeAddress(t), upstream: freeAddress(t), temp: t.TempDir(), exited: make(chan struct{})}
	d.url = "http://" + d.address
	program, args := cmp.Or(p.path, os.Args[0]), []string{"fwatchdog"}
	if p.args != nil {
		args = p.args
	}
	if !p.ours() {
		d.metrics = metricsOfPeers
	}
	d.cmd = &exec.Cmd{Path: program, Args: args, Stdout: &d.log, Stderr: &d.log, SysProcAttr: &syscall.SysProcAttr{Setpgid: true}, WaitDelay: time.Second}
	d.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + d.temp, "LOFN_TEST_PART=watchdog", "GOCOVERDIR=" + d.temp, "GORACE=atexit_sleep_ms=0",
		"port=" + port(d.address), "listen_host=127.0.0.1", "metrics_port=" + port(d.metrics), "healthcheck_interval=1ms",
		"function_address=" + d.upstream,
	}
	if !p.ours() {
		d.cmd.Env[2] = "LOFN_TEST_PART=function"
	}
	for _, pair := range env {
		d.cmd.Env = append(d.cmd.Env, strings.ReplaceAll(pair, "$UPSTREAM", d.upstream))
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = d.cmd.Wait(); close(d.exited) }()
	t.Cleanup(func() { d.stop(t) })
	return d
}

// start launches a watchdog and waits until it takes calls.
func start(t *testing.T, p peer, env ...string) *dog {
	t.Helper()
	d := launch(t, p, env...)
	eventually(t, "the watchdog listens", func() bool {
		select {
		case <-d.exited:
			t.Fatalf("the watchdog ended: %s\n%s", d.cmd.ProcessState, d.log.String())
		default:
		}
		conn, err := net.Dial("tcp", d.address)
		if err != nil {
			return false
		}
		_ = conn.Close()
		_, err = os.Stat(d.lock())
		return err == nil || strings.Contains(d.log.String(), "suppress_lock")
	})
	return d
}

func (d *dog) lock() string { return filepath.Join(d.temp, ".lock") }

func (d *dog) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		t.Error(err)
	}
}

// stop kills the watchdog and its children.
func (d *dog) stop(t *testing.T) {
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
	<-d.exited
	if t.Failed() {
		t.Logf("log of the watchdog:\n%.4000s", d.log.String())
	}
	if strings.Contains(d.log.String(), "DATA RACE") {
		t.Errorf("a race:\n%s", d.log.String())
	}
}

// exit waits for the end and returns the status.
func (d *dog) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-d.exited:
		return d.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("the watchdog did not end; its log:\n%s", d.log.String())
		return 0
	}
}

func request(t *testing.T, method, url, body string, header ...string) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "test")
	for i := 0; i < len(header); i += 2 {
		switch header[i] {
		case "Host":
			r.Host = header[i+1]
			continue
		case "User-Agent":
			r.Header["User-Agent"] = nil
		}
		r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
	}
	return r
}

// answer is a response read to its end, or as far as it came.
type answer struct {
	*http.Response
	body string
	err  error
}

func do(t *testing.T, r *http.Request) answer {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(r)
	if err != nil {
		return answer{&http.Response{Header: http.Header{}}, "", err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response, string(body), err}
}

func get(t *testing.T, url string) string {
	t.Helper()
	a := do(t, request(t, "GET", url, ""))
	if a.err != nil {
		t.Fatal(a.err)
	}
	return fmt.Sprintf("%d %s", a.StatusCode, a.body)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never came true: %s", what)
		}
	}
}

func (d *dog) waitLog(t *testing.T, text string) {
	t.Helper()
	eventually(t, strconv.Quote(text)+" in the log", func() bool { return strings.Contains(d.log.String(), text) })
}
