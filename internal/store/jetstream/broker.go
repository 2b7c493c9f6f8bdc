package jetstream

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// broker is the server, which can be started again in the same process: after
// it failed to write, to a full disk for one, it takes no record any more and
// answers no write.
type broker struct {
	dir string
	log *slog.Logger

	mu     sync.Mutex
	server *server.Server
	state  state
	// broken ends when the server fails to write, and fail ends it.
	broken context.Context
	fail   context.CancelCauseFunc
}

// state is who has the folder.
type state int

const (
	// owned is this process's server.
	owned state = iota
	// handedOver is another process's, which lends it.
	handedOver
	// shut is nobody's.
	shut
)

// start starts the server. The caller holds mu, or nobody else has the broker.
func (b *broker) start() error {
	s, err := server.NewServer(&server.Options{
		ServerName:             "lofn",
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		StoreDir:               b.dir,
		SyncAlways:             true,
		JetStreamMaxMemory:     maxMemoryBytes,
		JetStreamMaxStore:      maxDiskBytes,
		DisableJetStreamBanner: true,
		MaxPayload:             maxPayloadBytes,
	})
	if err != nil {
		return err
	}
	b.server = s
	b.broken, b.fail = context.WithCancelCause(context.Background())
	bridge := &logBridge{log: b.log, fail: b.fail}
	s.SetLoggerV2(bridge, false, false, false)
	s.Start()
	if fatal := bridge.fatal(); fatal != "" {
		return errors.New(fatal)
	}
	if !s.JetStreamEnabled() {
		return errors.New("the server did not come up, and did not say why")
	}
	return nil
}

// stop stops the server and waits until its files are closed.
func (b *broker) stop(next state) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = next
	b.halt()
}

// resume starts the server of a folder that was handed over.
func (b *broker) resume() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != handedOver {
		return errors.New("it was not handed over")
	}
	if err := b.start(); err != nil {
		b.halt()
		return err
	}
	b.state = owned
	return nil
}

func (b *broker) halt() {
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
	}
}

// InProcessConn connects a client to the server that has the folder at the
// moment.
func (b *broker) InProcessConn() (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.state {
	case owned:
		return b.server.InProcessConn()
	case handedOver:
		return dialLent(b.dir)
	default:
		return nil, net.ErrClosed
	}
}

// owns reports whether this process has the folder.
func (b *broker) owns() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state == owned
}

// failure returns a context that ends, with its cause, when the server fails
// to write.
func (b *broker) failure() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broken
}

// revive starts the server again if it failed to write. It reports whether it
// did.
func (b *broker) revive() (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != owned || b.broken.Err() == nil {
		return false, nil
	}
	b.log.Info("store: starting again after a failure", "error", context.Cause(b.broken))
	b.halt()
	if err := b.start(); err != nil {
		// So that the next one who asks tries again.
		b.fail(err)
		return false, err
	}
	return true, nil
}
