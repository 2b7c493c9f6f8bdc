// Package jetstream keeps records in NATS JetStream, embedded in this process:
// an Engine is the broker with its files, a Store one bucket of records in it.
//
// A write that was acknowledged is on disk: the engine syncs each one. Records
// have no age limit, so a clock that jumps cannot expire them.
package jetstream

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lofn"
)

const (
	// maxPayloadBytes is the most that the server takes in one message; it
	// warns of more.
	maxPayloadBytes = 8 << 20
	// maxValueBytes bounds one encoded record, and leaves room for headers.
	maxValueBytes = maxPayloadBytes - 64<<10
	// spareForPut is what a write leaves free on the disk, for the server to
	// compact its files and for deletions, which leave spareForDelete.
	spareForPut    = 16 << 20
	spareForDelete = 1 << 20
	// maxMemoryBytes bounds what is kept in memory only: the state of watches.
	maxMemoryBytes = 256 << 20
	// maxDiskBytes switches the engine's own estimate off, which it makes once
	// at its start; room asks the disk each time.
	maxDiskBytes = 1 << 60
	// apiTimeout is how long a request may take whose context sets no end. It
	// is long because a disk that syncs slowly is not an error.
	apiTimeout = 30 * time.Second
)

// Config is what an Engine needs.
type Config struct {
	// Dir is the folder that the engine keeps everything in. It is created if
	// missing. No two engines may share one.
	Dir string
	// Log receives what the engine reports.
	Log *slog.Logger
}

// Engine is an embedded JetStream server. It opens no port. All methods are
// safe for concurrent use.
type Engine struct {
	dir    string
	log    *slog.Logger
	broker *broker

	mu        sync.Mutex
	conn      *nats.Conn
	js        jetstream.JetStream
	loan      *loan // nil unless it is lent
	witnesses map[string]*witness
}

// Open starts an engine over cfg.Dir. Errors name the folder and what to do.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "the store's folder %s cannot be made: %w", cfg.Dir, err)
	}
	e := &Engine{
		dir:       cfg.Dir,
		log:       cfg.Log,
		broker:    &broker{dir: cfg.Dir, log: cfg.Log},
		witnesses: make(map[string]*witness),
	}
	if err := e.broker.start(); err != nil {
		e.Close()
		return nil, lofn.Errorf(lofn.Unavailable, "the store in %s does not start: %w", cfg.Dir, err)
	}
	if err := e.connect(ctx); err != nil {
		e.Close()
		return nil, lofn.Errorf(lofn.Unavailable, "the store in %s does not answer: %w", cfg.Dir, err)
	}
	return e, nil
}

func (e *Engine) connect(ctx context.Context) error {
	nc, err := nats.Connect("",
		nats.InProcessServer(e.broker),
		nats.Name("lofn"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(50*time.Millisecond),
		// The library's own handler writes to the terminal.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			e.log.Warn("store: connection to the engine", "error", err)
		}),
	)
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(apiTimeout))
	if err != nil {
		nc.Close()
		return err
	}
	e.mu.Lock()
	e.conn, e.js = nc, js
	e.mu.Unlock()
	_, err = js.AccountInfo(ctx)
	return err
}

// client returns the stores' client.
func (e *Engine) client() jetstream.JetStream {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.js
}

// connects reports whether the stores' client has not been closed.
func (e *Engine) connects() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.conn.IsClosed()
}

// InProcessConn connects a client to the engine: while its folder is handed
// over, to the other process's.
func (e *Engine) InProcessConn() (net.Conn, error) { return e.broker.InProcessConn() }

// Close stops the engine and waits until its files are closed. Watches end
// with an error with code Unavailable.
func (e *Engine) Close() { e.release(shut) }

// HandOver is Close for another process that opens the folder next. Clients
// that connected by InProcessConn find its engine as soon as it lends it; the
// stores of this engine are of no use any more.
func (e *Engine) HandOver() { e.release(handedOver) }

// TakeBack opens an engine again that was handed over, when the other process
// has let go of the folder. Its stores are to be opened again.
func (e *Engine) TakeBack(ctx context.Context) error {
	if err := e.broker.resume(); err != nil {
		return lofn.Errorf(lofn.Unavailable, "the store in %s does not start again: %w", e.dir, err)
	}
	if err := e.connect(ctx); err != nil {
		e.HandOver()
		return lofn.Errorf(lofn.Unavailable, "the store in %s does not answer: %w", e.dir, err)
	}
	return nil
}

// release lets go of the folder.
func (e *Engine) release(next state) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn != nil {
		e.conn.Close()
	}
	if e.loan != nil {
		e.loan.end()
		e.loan = nil
	}
	e.broker.stop(next)
	for _, w := range e.witnesses {
		w.close()
	}
	clear(e.witnesses)
}

// witness returns the one of a bucket, shared by all of the bucket's stores.
func (e *Engine) witness(bucket string) (*witness, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := e.witnesses[bucket]; w != nil {
		return w, nil
	}
	w, err := openWitness(filepath.Join(e.dir, bucket+".witness"), e.log)
	if err != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "the store's folder %s cannot be used: %w", e.dir, err)
	}
	e.witnesses[bucket] = w
	return w, nil
}

// Failure returns a context that ends, with its cause, when the server fails to
// write. It takes no record then, and answers no write, until Ready.
func (e *Engine) Failure() context.Context { return e.broker.failure() }

// Ready prepares a write of that many bytes, which shall leave spare bytes free
// on the disk: the error has code Full if there is no room. A server that
// failed to write is started again here.
func (e *Engine) Ready(ctx context.Context, bytes, spare int64) error {
	if err := e.room(bytes + spare); err != nil {
		return err
	}
	revived, err := e.broker.revive()
	if revived {
		err = e.connected(ctx)
	}
	if err != nil {
		return lofn.Errorf(lofn.Unavailable, "the store in %s failed, and does not start again: %w", e.dir, err)
	}
	return nil
}

// connected waits until the client has found a server that was started again.
// The connection comes back by itself, but what was asked on the old one before
// its end showed is lost, so this asks again and again.
func (e *Engine) connected(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	for patience := firstPatience; ; patience *= 2 {
		attempt, stop := context.WithTimeout(ctx, patience)
		_, err := e.client().AccountInfo(attempt)
		if err != nil {
			<-attempt.Done() // where it was refused at once
		}
		stop()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// firstPatience is how long the first question may take; each later one may
// take twice as long.
const firstPatience = 100 * time.Millisecond

// publish sends a message to a stream of the engine. It does not wait for the
// answer of a server that failed to write.
func (e *Engine) publish(ctx context.Context, message *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	failure := e.broker.failure()
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	defer context.AfterFunc(failure, cancel)()
	ack, err := e.client().PublishMsg(ctx, message, opts...)
	if err != nil && failure.Err() != nil {
		return nil, lofn.Errorf(lofn.Unavailable, "the disk of %s is full or fails: %w", e.dir, context.Cause(failure))
	}
	return ack, err
}

// room reports whether the disk has that many bytes free. Asking before a
// write keeps the server from running into the end of the disk.
func (e *Engine) room(need int64) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(e.dir, &disk); err != nil {
		return lofn.Errorf(lofn.Unavailable, "the disk of %s cannot be examined: %w", e.dir, err)
	}
	// The field types differ between systems.
	free := int64(disk.Bavail) * int64(disk.Bsize)
	if free < need {
		return lofn.Errorf(lofn.Full, "the disk is full: %s has %d MiB free and needs %d MiB: free some space and retry",
			e.dir, free>>20, (need+1<<20-1)>>20)
	}
	return nil
}

// Place is the folder in which the server keeps a stream.
func (e *Engine) Place(stream string) string {
	return filepath.Join(e.dir, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams", stream)
}
