//go:build linux

package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"lofn"
	"lofn/client/clienttest"
	"lofn/internal/cli"
)

// putCall puts a call into the queue, or changes its state.
func putCall(gateway *clienttest.Gateway, function, id string, state lofn.CallState, status int, answer string) {
	gateway.PutCall(lofn.CallDetail{CallStatus: lofn.CallStatus{
		ID: id, Function: function, State: state, Status: status, AcceptedAt: time.Now(),
	}}, answer)
}

func gatewayOf(t *testing.T) *clienttest.Gateway {
	t.Helper()
	gateway := clienttest.NewGateway()
	t.Cleanup(gateway.Close)
	return gateway
}

// screen keeps what a terminal was sent.
type screen struct {
	mu  sync.Mutex
	all bytes.Buffer
	// changed is sent to, without waiting, when there is more.
	changed chan struct{}
}

func watchTerminal(person io.Reader) *screen {
	s := &screen{changed: make(chan struct{}, 1)}
	go func() {
		piece := make([]byte, 4096)
		for {
			n, err := person.Read(piece)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.all.Write(piece[:n])
			s.mu.Unlock()
			select {
			case s.changed <- struct{}{}:
			default:
			}
		}
	}()
	return s
}

// await returns when the terminal has been sent what the pattern matches.
func (s *screen) await(t *testing.T, pattern string) {
	t.Helper()
	want := regexp.MustCompile(pattern)
	for limit := time.After(30 * time.Second); ; {
		s.mu.Lock()
		text := s.all.String()
		s.mu.Unlock()
		if want.MatchString(text) {
			return
		}
		select {
		case <-s.changed:
		case <-limit:
			t.Fatalf("the terminal does not show %s:\n%q", pattern, text[max(len(text)-1000, 0):])
		}
	}
}

func (s *screen) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Reset()
}

// runOn runs a command line with a terminal for its output.
func runOn(ctx context.Context, t *testing.T, terminal *os.File, gateway string, args ...string) (code <-chan int) {
	t.Helper()
	ended := make(chan int, 1)
	home := t.TempDir()
	go func() {
		ended <- cli.Main(ctx, cli.Env{
			Args: args, Stdin: strings.NewReader(""), Stdout: terminal, Stderr: terminal,
			Getenv: func(name string) string { return map[string]string{"OPENFAAS_URL": gateway, "HOME": home}[name] },
		})
	}()
	return ended
}

// On a terminal the queue's figures change in place: what there is to do, how
// much of it is done in a second, and that the gateway is away.
func TestQueueStatsOnATerminal(t *testing.T) {
	gateway := gatewayOf(t)
	putCall(gateway, "g.dev", "0", lofn.CallDead, 500, "")
	for i := range 9 {
		putCall(gateway, "f.openfaas-fn", fmt.Sprint("f", i), lofn.CallQueued, 0, "")
	}
	person, terminal := openTerminal(t)
	s := watchTerminal(person)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	code := runOn(ctx, t, terminal, gateway.URL, "queue", "stats", "--watch", "--interval", "100ms")
	s.await(t, `\r\nf +9 +0 +- +- +0 +\d+s.*\r\ng.dev +0 +0 +- +- +1 +- .*\r\nTotal +9 +0 +- +- +1 `)
	s.await(t, `\x1b\[4A\r\x1b\[JFunction `)
	s.await(t, `\r\nf +9 +0 +0\.0 +0\.0 +0 `)
	for i := range 9 {
		putCall(gateway, "f.openfaas-fn", fmt.Sprint("f", i), lofn.CallSucceeded, 200, "")
	}
	s.await(t, `\r\nf +0 +0 +0\.0 +[0-9.]*[1-9][0-9.]* +0 +- `)
	gateway.Fail("/system/queue", http.StatusServiceUnavailable, "the queue cannot be reached")
	s.await(t, `\r\nthe queue cannot be reached; trying again since [\d:]+\r\n`)
	gateway.Fail("", 0, "")
	s.forget()
	s.await(t, `Total +0 +0 .*\r\n\x1b\[4A`)
	interrupt()
	if got := <-code; got != 130 {
		t.Errorf("exit code %d, want 130", got)
	}
}

// A terminal has room for so many functions: those with most to do are shown.
func TestQueueStatsOfManyFunctions(t *testing.T) {
	gateway := gatewayOf(t)
	for i := range 50 {
		putCall(gateway, fmt.Sprintf("f%02d.openfaas-fn", i), fmt.Sprint(i), lofn.CallDead, 500, "")
	}
	putCall(gateway, "zz.openfaas-fn", "busy", lofn.CallQueued, 0, "")
	person, terminal := openTerminal(t)
	s := watchTerminal(person)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	code := runOn(ctx, t, terminal, gateway.URL, "queue", "stats", "--watch")
	s.await(t, `^Function .*\r\nzz +1 .*\r\nf00 [^$]*f18 .*\r\nTotal +1 +0 +- +- +50 .*\r\nand 31 functions with less to do\r\n`)
	interrupt()
	<-code
}

// Elsewhere each reading is lines that a program can take apart.
func TestQueueStatsInAPipe(t *testing.T) {
	gateway := gatewayOf(t)
	putCall(gateway, "f.openfaas-fn", "1", lofn.CallQueued, 0, "")
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, `^\d{4}-\S+ f queued=1 running=0 in/s=(-|0\.0) done/s=(-|0\.0) dead=0 oldest=\d+s callbacks=0\n$`},
		{[]string{"--json"}, `^\[\{"function":"f.openfaas-fn","queued":1,.*\}\]\n$`},
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		_, out, code := start(ctx, t, gateway.URL, append([]string{"queue", "stats", "--watch", "--interval", "100ms"}, tc.args...)...)
		for range 2 {
			if line, err := out.ReadString('\n'); !regexp.MustCompile(tc.want).MatchString(line) {
				t.Errorf("%v: got %q, %v", tc.args, line, err)
			}
		}
		interrupt()
		if got := <-code; got != 130 {
			t.Errorf("%v: exit code %d, want 130", tc.args, got)
		}
	}
}

// On a terminal one line counts what is done, and what went wrong is above it.
func TestRedriveOnATerminal(t *testing.T) {
	gateway := gatewayOf(t)
	const calls = 250 // more than the gateway lists at once
	for i := range calls {
		putCall(gateway, "f.openfaas-fn", fmt.Sprint("call", i), lofn.CallDead, 500, "")
	}
	gateway.Fail("/system/queue/calls/call7/redrive", http.StatusServiceUnavailable, "the queue cannot be reached")
	goOn := gateway.Hold("/system/queue/calls/call9/redrive")
	person, terminal := openTerminal(t)
	s := watchTerminal(person)
	ended := runOn(t.Context(), t, terminal, gateway.URL, "queue", "redrive", "--all", "f")
	s.await(t, `call call7 was not redriven: the queue cannot be reached\r\n`)
	s.await(t, `s f  Redriven \d+ of 250\r\n`)
	goOn()
	if code := <-ended; code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	s.await(t, `Redriven: 249 calls of f\r\n`)
	s.await(t, `lofn: call7 was not redriven\r\n`)
}

// A result that is waited for is printed when it is there, and a gateway that is
// away for a while does not end the wait.
func TestQueueResultWaits(t *testing.T) {
	gateway := gatewayOf(t)
	putCall(gateway, "f.openfaas-fn", "1", lofn.CallRunning, 0, "")
	_, out, code := start(t.Context(), t, gateway.URL, "queue", "result", "--wait", "1")
	gateway.Await("/system/queue/calls/1", 1)
	gateway.Fail("/system/queue/calls/1", http.StatusServiceUnavailable, "starting")
	gateway.Await("/system/queue/calls/1", 2)
	putCall(gateway, "f.openfaas-fn", "1", lofn.CallSucceeded, 200, "42\n")
	gateway.Fail("", 0, "")
	if text, err := io.ReadAll(out); string(text) != "42\n" || err != nil {
		t.Errorf("got %q, %v", text, err)
	}
	if got := <-code; got != 0 {
		t.Errorf("exit code %d", got)
	}
}
