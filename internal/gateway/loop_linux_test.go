package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"lofn"
	"lofn/internal/gateway"
	"lofn/internal/pool"
	"lofn/internal/telemetry"
)

// TestACallThatWaitsStaysInTheLane calls a function that has no replica: the
// call waits for one, and its connection is none the worse for it.
func TestACallThatWaitsStaysInTheLane(t *testing.T) {
	p := start(t, lonely, http.HandlerFunc(mirrorRequest))
	p.put(lofn.Function{Ref: echo, Replicas: 0, Generation: 1, Spec: lofn.Spec{Image: "echo"}})
	p.eventually("no replica is left", func() bool { return len(p.provider.Running()) == 0 })
	conn, r := p.dial()
	for _, path := range []string{"/cold", "/warm"} {
		fmt.Fprintf(conn, "POST /function/echo%s HTTP/1.1\r\nHost: x\r\nX-Timeout: 20s\r\nContent-Length: 4\r\n\r\nbody", path)
		if status, body := p.read(r); status != 200 || !strings.Contains(body, path) || !strings.Contains(body, `body="body"`) {
			t.Errorf("%s: got %d %q", path, status, body)
		}
	}
}

// laneOf is a lane alone before replicas that are told to the pool.
func laneOf(t *testing.T, replicas ...lofn.Replica) (url string, p *pool.Pool) {
	t.Helper()
	p = pool.New(pool.Config{})
	p.Declare(lofn.Function{Ref: echo, Replicas: len(replicas)})
	for _, r := range replicas {
		r.Function, r.State = echo, lofn.Ready
		p.Update(r)
	}
	g := gateway.New(gateway.Config{Functions: p, Meter: telemetry.New(), Release: "test", Log: slog.New(slog.DiscardHandler)})
	url, closeDoor := lonely(t, g, p)
	t.Cleanup(closeDoor)
	return url, p
}

// replica has the handler listen, as a replica that is ready.
func replica(t *testing.T, network, address string, handler http.HandlerFunc) lofn.Replica {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return lofn.Replica{ID: "on-" + network, Network: network, Address: l.Addr().String()}
}

// TestCallsPassReplicasThatAreGone has replicas that are said to be ready and
// are not there, in each way that can be.
func TestCallsPassReplicasThatAreGone(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	dir := t.TempDir()
	gone := []lofn.Replica{
		{ID: "no-file", Network: "unix", Address: filepath.Join(dir, "none")},
		{ID: "no-folder", Network: "unix", Address: filepath.Join(dir, "no/thing")},
		{ID: "no-port", Network: "tcp", Address: closed.Addr().String()},
	}
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			address := map[string]string{"unix": filepath.Join(dir, network), "tcp": "127.0.0.1:0"}[network]
			alive := replica(t, network, address, mirrorRequest)
			url, p := laneOf(t, append(gone, alive)...)
			for range 20 {
				resp, err := http.Post(url+"/function/echo", "text/plain", strings.NewReader("body"))
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 || !strings.Contains(string(body), `body="body"`) {
					t.Fatalf("got %d %q", resp.StatusCode, body)
				}
			}
			alive.Function = echo
			if err := p.Drain(t.Context(), alive); err != nil { // waits for its calls
				t.Error(err)
			}
			if inFlight, waiting := p.Load(echo); inFlight != 0 || waiting != 0 {
				t.Errorf("afterwards %d calls are in flight and %d wait", inFlight, waiting)
			}
		})
	}
}

// TestASlowReaderSlowsItsFunction has a client that does not read what it is
// sent: the function has to wait, instead of the gateway keeping it all.
func TestASlowReaderSlowsItsFunction(t *testing.T) {
	const size, piece = 64 << 20, 64 << 10
	for _, sized := range []bool{true, false} {
		var written atomic.Int64
		finished := make(chan struct{})
		url, _ := laneOf(t, replica(t, "unix", filepath.Join(t.TempDir(), "s"), func(w http.ResponseWriter, _ *http.Request) {
			defer close(finished)
			if sized {
				w.Header().Set("Content-Length", fmt.Sprint(size))
			}
			for written.Load() < size {
				n, err := w.Write(make([]byte, piece))
				if written.Add(int64(n)); err != nil {
					return
				}
			}
		}))
		resp, err := http.Get(url + "/function/echo")
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-finished:
			t.Errorf("sized: %v: the function wrote %d bytes that nobody had read", sized, written.Load())
		default:
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if n != size || err != nil {
			t.Errorf("sized: %v: got %d bytes (%v), want %d", sized, n, err, size)
		}
		<-finished
	}
}

// TestAnAnswerPastTheDeadlineIsCutOff has a function that streams without end.
func TestAnAnswerPastTheDeadlineIsCutOff(t *testing.T) {
	stopped := make(chan struct{})
	streams := replica(t, "unix", filepath.Join(t.TempDir(), "s"), func(w http.ResponseWriter, r *http.Request) {
		defer close(stopped)
		fmt.Fprint(w, "begun")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	url, p := laneOf(t, streams)
	req, err := http.NewRequest("GET", url+"/function/echo", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Timeout", "100ms")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != "begun" || err == nil {
		t.Errorf("got %q (%v), want it cut off", body, err)
	}
	<-stopped
	streams.Function = echo
	if err := p.Drain(t.Context(), streams); err != nil { // waits for its calls
		t.Error(err)
	}
}

// TestDrainLeavesConnectionsToOthers drains a lane that has a connection
// without a call, one with half a request, and one with a call.
func TestDrainLeavesConnectionsToOthers(t *testing.T) {
	goOn, began := make(chan struct{}), make(chan struct{})
	var lane *gateway.Lane
	p := start(t, func(t testing.TB, g *gateway.Gateway, replicas *pool.Pool) (url string, closeDoor func()) {
		lane, url, closeDoor = lonelyLane(t, g, replicas)
		return url, closeDoor
	}, slowly(goOn, began))
	const get = "GET /function/echo/%s HTTP/1.1\r\nHost: x\r\n\r\n"
	idle, fromIdle := p.dial()
	half, fromHalf := p.dial()
	for _, c := range []struct {
		to   net.Conn
		from *bufio.Reader
	}{{idle, fromIdle}, {half, fromHalf}} {
		fmt.Fprintf(c.to, get, "first")
		if status, _ := p.read(c.from); status != 200 {
			t.Fatalf("got %d", status)
		}
	}
	fmt.Fprint(half, "GET /function/echo/half HTTP/1.1\r\nHo")
	busy, fromBusy := p.dial()
	fmt.Fprintf(busy, get, "slow")
	<-began

	lane.Drain()
	fmt.Fprintf(idle, get, "next")
	fmt.Fprint(half, "st: x\r\n\r\n")
	for name, from := range map[string]*bufio.Reader{"idle": fromIdle, "half": fromHalf} {
		if status, _ := p.read(from); status != 299 {
			t.Errorf("%s: got %d, want 299 from elsewhere", name, status)
		}
	}
	close(goOn)
	if status, body := p.read(fromBusy); status != 200 || body != "/slow" {
		t.Errorf("the call under way: got %d %q", status, body)
	}
	fmt.Fprintf(busy, get, "next")
	if status, _ := p.read(fromBusy); status != 299 {
		t.Errorf("the call after it: got %d, want 299 from elsewhere", status)
	}
}
