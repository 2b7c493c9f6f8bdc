package invoke_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/invoke"
	"lofn/internal/pool"
)

var echo = lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}

// serve has a handler listen on a Unix socket, as a replica that is ready.
func serve(t *testing.T, id string, handler http.HandlerFunc) lofn.Replica {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return lofn.Replica{Function: echo, ID: id, State: lofn.Ready, Network: "unix", Address: socket}
}

// dead is a replica that is said to be ready and is not there.
func dead(t *testing.T, id, below string) lofn.Replica {
	t.Helper()
	return lofn.Replica{Function: echo, ID: id, State: lofn.Ready, Network: "unix", Address: filepath.Join(t.TempDir(), below)}
}

func caller(t *testing.T, replicas ...lofn.Replica) (*invoke.Caller, *pool.Pool) {
	t.Helper()
	p := pool.New(pool.Config{})
	p.Declare(lofn.Function{Ref: echo, Replicas: len(replicas)})
	for _, r := range replicas {
		p.Update(r)
	}
	c := invoke.NewCaller(p)
	t.Cleanup(c.Close)
	return c, p
}

func request(t *testing.T, ctx context.Context, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "POST", "/path", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func repeat(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

func TestACallPassesReplicasThatAreGone(t *testing.T) {
	c, p := caller(t, dead(t, "gone", "s"), dead(t, "deeper", "not/there/s"), serve(t, "alive", repeat))
	for range 20 {
		resp, err := c.Call(echo, request(t, t.Context(), "body"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != "body" {
			t.Fatalf("got %q (%v)", body, err)
		}
	}
	if inFlight, waiting := p.Load(echo); inFlight != 0 || waiting != 0 {
		t.Errorf("afterwards %d calls are in flight and %d wait", inFlight, waiting)
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	released := make(chan struct{})
	c, p := caller(t, serve(t, "slow", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(released)
	}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	resp, err := c.Call(echo, request(t, ctx, ""))
	if err != nil {
		t.Fatal(err)
	}
	if inFlight, _ := p.Load(echo); inFlight != 1 {
		t.Errorf("%d calls in flight during one", inFlight)
	}
	cancel()
	<-released
	if err := p.Drain(t.Context(), lofn.Replica{Function: echo, ID: "slow"}); err != nil {
		t.Error(err)
	}
	resp.Body.Close()
}
