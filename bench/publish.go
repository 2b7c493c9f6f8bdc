package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// publishing is a NATS server with JetStream that flushes each message to the
// disk, in a process of its own: this program, run once more.
type publishing struct {
	process *exec.Cmd
	dir     string
	url     string
}

// serveJetStream is the argument by which this program is that server.
const serveJetStream = "serve-jetstream"

func startPublishing(ctx context.Context) (*publishing, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &publishing{}
	if p.dir, err = os.MkdirTemp("", "lofn-bench-"); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p.url = "nats://" + address
	p.process = exec.Command(self, serveJetStream, address, p.dir)
	p.process.Stderr = os.Stderr
	// It ends with the pipe.
	if _, err = p.process.StdinPipe(); err == nil {
		err = p.process.Start()
	}
	if err == nil {
		err = p.create(ctx)
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// create makes the stream that messages are published to.
func (p *publishing) create(ctx context.Context) error {
	conn, err := nats.Connect(p.url, nats.RetryOnFailedConnect(true), nats.ReconnectWait(20*time.Millisecond), nats.MaxReconnects(500))
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	for {
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "BENCH", Subjects: []string{"bench"}, Storage: jetstream.FileStorage})
		if err == nil || !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, jetstream.ErrJetStreamNotEnabled) && conn.IsConnected() {
			return err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// publish has so many clients publish messages of so many bytes one by one, and
// returns how many were confirmed each second.
func (p *publishing) publish(ctx context.Context, clients, bytes int, d time.Duration) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, d+10*time.Second)
	defer cancel()
	conn, err := nats.Connect(p.url)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return 0, err
	}
	var count atomic.Int64
	errs := make(chan error, clients)
	start := time.Now()
	var work sync.WaitGroup
	for range clients {
		work.Go(func() {
			body := make([]byte, bytes)
			for time.Since(start) < d {
				if _, err := js.Publish(ctx, "bench", body); err != nil {
					errs <- err
					return
				}
				count.Add(1)
			}
		})
	}
	work.Wait()
	select {
	case err := <-errs:
		return 0, fmt.Errorf("publish to JetStream: %w", err)
	default:
		return float64(count.Load()) / time.Since(start).Seconds(), nil
	}
}

func (p *publishing) stop() {
	if p.process != nil && p.process.Process != nil {
		_ = p.process.Process.Kill()
		_ = p.process.Wait()
	}
	_ = os.RemoveAll(p.dir)
}

// runJetStream is the server. It ends with its standard input.
func runJetStream(address, dir string) error {
	host, port, _ := strings.Cut(address, ":")
	number := 0
	if _, err := fmt.Sscan(port, &number); err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{Host: host, Port: number, NoSigs: true, JetStream: true, StoreDir: dir, SyncAlways: true})
	if err != nil {
		return err
	}
	s.Start()
	defer s.Shutdown()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}
