package gateway_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"lofn"
	"lofn/internal/gateway"
	"lofn/internal/invoke"
	"lofn/internal/pool"
	"lofn/internal/telemetry"
)

// besides is a platform with one function, whose only replica is whatever
// serves on the listener.
func besides(t testing.TB, d door, env map[string]string, serve func(net.Listener)) *platform {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { serve(listener) })

	replicas := pool.New(pool.Config{})
	replicas.Declare(lofn.Function{Ref: echo, Replicas: 1, Spec: lofn.Spec{Image: "echo", Env: env}})
	replicas.Update(lofn.Replica{Function: echo, ID: "echo-1", State: lofn.Ready, Network: "unix", Address: socket})
	caller := invoke.NewCaller(replicas)
	p := &platform{TB: t, metrics: telemetry.New()}
	var closeDoor func()
	p.url, closeDoor = d(t, gateway.New(gateway.Config{
		Caller: caller, Functions: replicas, Meter: p.metrics, Release: "test", Log: slog.New(slog.DiscardHandler),
	}), replicas)
	p.closeDoor = sync.OnceFunc(closeDoor)
	t.Cleanup(func() {
		listener.Close()
		caller.Close()
		p.closeDoor()
		serving.Wait()
	})
	return p
}

// raw serves connections one by one with a function that speaks for itself.
// Each is closed after it.
func raw(handle func(net.Conn)) func(net.Listener) {
	return func(l net.Listener) {
		ctx, stop := context.WithCancel(context.Background())
		var handling sync.WaitGroup
		defer handling.Wait()
		defer stop()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { conn.Close() })
			handling.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	}
}

// drain reads a connection to its end.
func drain(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
