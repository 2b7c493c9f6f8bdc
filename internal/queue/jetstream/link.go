package jetstream

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lofn"
)

const (
	// embeddedTime is how long the engine in this process may take to answer. It
	// is long because a disk that syncs slowly is not an error. remoteTime is the
	// same for a server elsewhere, which may never answer: in a cluster that is
	// choosing a new leader requests get lost.
	embeddedTime = 30 * time.Second
	remoteTime   = 5 * time.Second
	// patience is how long a request waits for a connection that is being made
	// again.
	patience = 2 * time.Second
	// insistTime is how long a request is made again that was not answered: long
	// enough for a cluster to choose a new leader.
	insistTime = 30 * time.Second
	// pingTime is how often a server is asked whether it is there; a connection on
	// which it did not answer twice is given up. That is less than the time after
	// which others take this process for dead.
	pingTime = 5 * time.Second
	// reconnectWait is the pause between attempts to connect again.
	reconnectWait = 50 * time.Millisecond
)

// errLost is the cause of the end of requests whose connection broke.
var errLost = errors.New("the connection was lost")

// link is a connection that comes back by itself. Requests end with it instead
// of waiting for an answer that nobody will give.
type link struct {
	name string // for errors
	conn *nats.Conn
	js   jetstream.JetStream
	log  *slog.Logger
	// limit is how long a request may take.
	limit time.Duration
	// level is how much it matters that the connection is lost.
	level slog.Level
	// failure tells when the server will not answer although it is connected.
	failure func() context.Context

	mu   sync.Mutex
	life context.Context // ends when the connection breaks
	end  context.CancelCauseFunc
}

func newLink(name string, log *slog.Logger) *link {
	k := &link{name: name, log: log, limit: remoteTime, level: slog.LevelWarn, failure: context.Background}
	k.life, k.end = context.WithCancelCause(context.Background())
	return k
}

// connect makes the connection, to one of the URLs or to where the options say.
func (k *link) connect(urls string, options ...nats.Option) (err error) {
	options = append(options,
		nats.Name("lofn queue"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
		nats.PingInterval(pingTime),
		nats.MaxPingsOutstanding(2),
		nats.IgnoreAuthErrorAbort(),
		// Nothing is kept to be sent later: what was not sent is known not to be.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(k.lost),
		nats.ReconnectHandler(func(*nats.Conn) {
			k.log.Log(context.Background(), k.level, "queue: connected again", "to", k.name)
		}),
		// The library's own handler writes to the terminal.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			k.log.Warn("queue: connection", "to", k.name, "error", err)
		}),
	)
	if k.conn, err = nats.Connect(urls, options...); err != nil {
		return err
	}
	k.js, err = jetstream.New(k.conn, jetstream.WithDefaultTimeout(k.limit))
	return err
}

func (k *link) lost(_ *nats.Conn, err error) {
	if err != nil {
		k.log.Log(context.Background(), k.level, "queue: the connection was lost", "to", k.name, "error", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.end(errLost)
	k.life, k.end = context.WithCancelCause(context.Background())
}

// bound returns a context for one request: that of alive, and with a limit in
// time.
func (k *link) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancelTime := context.WithTimeout(ctx, k.limit)
	ctx, cancel := k.alive(ctx)
	return ctx, func() {
		cancel()
		cancelTime()
	}
}

// alive returns a context that ends when nobody will answer a request any more,
// and then has the cause.
func (k *link) alive(ctx context.Context) (context.Context, context.CancelFunc) {
	k.mu.Lock()
	life := k.life
	k.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	stopLife, stopFailure := endWith(life, cancel), endWith(k.failure(), cancel)
	return ctx, func() {
		stopLife()
		stopFailure()
		cancel(nil)
	}
}

// endWith has cancel called with the cause of the context's end.
func endWith(ctx context.Context, cancel context.CancelCauseFunc) (stop func() bool) {
	return context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
}

// connected waits a little for a connection that broke.
func (k *link) connected(ctx context.Context) error {
	if k.conn.IsConnected() {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	look := time.NewTicker(reconnectWait / 5)
	defer look.Stop()
	for !k.conn.IsConnected() {
		select {
		case <-look.C:
			if k.conn.IsClosed() {
				return lofn.Errorf(lofn.Unavailable, "the queue is closed: %w", nats.ErrConnectionClosed)
			}
		case <-wait.Done():
			return lofn.Errorf(lofn.Unavailable, "the queue cannot be reached: there is no connection to %s", k.name)
		}
	}
	return nil
}

// ask makes a request that may be made again, as it is if the connection breaks
// before the answer.
func (k *link) ask(ctx context.Context, what string, request func(ctx context.Context) error) error {
	once := func() error {
		ctx, cancel := k.bound(ctx)
		defer cancel()
		return k.translate(ctx, request(ctx), what)
	}
	err := k.send(ctx, once)
	if broke(err) {
		err = k.send(ctx, once)
	}
	return err
}

// broke reports whether a request failed because the connection broke.
func broke(err error) bool {
	return errors.Is(err, errLost) || errors.Is(err, nats.ErrReconnectBufExceeded)
}

// send makes a request when there is a connection, and once more if it broke
// before the request was sent.
func (k *link) send(ctx context.Context, request func() error) error {
	for {
		if err := k.connected(ctx); err != nil {
			return err
		}
		if err := request(); !errors.Is(err, nats.ErrReconnectBufExceeded) || ctx.Err() != nil {
			return err
		}
	}
}

// insist is ask for what should not be broken off because a server is away for
// a moment.
func (k *link) insist(ctx context.Context, what string, request func(ctx context.Context) error) error {
	begin := time.Now()
	for {
		err := k.ask(ctx, what, request)
		if err == nil || ctx.Err() != nil || k.conn.IsClosed() || time.Since(begin) > insistTime {
			return err
		}
		if code := lofn.CodeOf(err); code != lofn.Unavailable && code != lofn.DeadlineExceeded {
			return err
		}
		select {
		case <-time.After(reconnectWait):
		case <-ctx.Done():
		}
	}
}
