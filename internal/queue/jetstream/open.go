package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lofn"
	"lofn/internal/queue/ledger"
)

// DefaultStream is the stream of a platform that says nothing else.
const DefaultStream = "LOFN_CALLS"

// headerBytes is what a record's message has beside the record.
const headerBytes = 1 << 10

// Config says where a log is.
type Config struct {
	// Engine is the embedded server. Where it is nil, URL says where the server
	// is, or several of a cluster, separated by commas.
	Engine Engine
	URL    string
	// Credentials is the file with which to log in, CA the file of certificates
	// that sign the server's. Both may be empty.
	Credentials, CA string
	// Stream is the log's name, and how names of all that belongs to it begin.
	// Empty means DefaultStream.
	Stream string
	// Replicas is how many servers of a cluster shall have a copy, 0 for as many
	// as have one.
	Replicas int
	// Log receives what happens to the connection.
	Log *slog.Logger
}

// Engine is an embedded server whose folder is on this machine.
type Engine interface {
	// InProcessConn connects to it, also after it was started anew.
	nats.InProcessConnProvider
	// Ready prepares a write of that many bytes that shall leave spare bytes
	// free on the disk; the error has code Full if there is no room. After a
	// failure to write it brings the server back.
	Ready(ctx context.Context, bytes, spare int64) error
	// Failure returns a context that ends when the server fails to write.
	Failure() context.Context
	// Place is where the files of a stream are.
	Place(stream string) string
	// Vacant is an error if there is something of a stream in the folder, or was.
	// It is asked about those that the server does not know.
	Vacant(stream string) error
	// Intact has an error if there were messages before the first or after the
	// last of a stream, which look tells. It knows from Appended, and from
	// Trimming, which comes before a trim and reports whether that is for this
	// process to do.
	Intact(stream string, look func() (first, last uint64, err error)) error
	Appended(stream string, last uint64)
	Trimming(stream string, before uint64) bool
}

// Open connects to the log, making it at its first use. The connection then
// comes back by itself, always. The error has code Unavailable if it may be
// worth to try again.
func Open(ctx context.Context, c Config) (*Log, error) {
	if c.Stream == "" {
		c.Stream = DefaultStream
	}
	link := newLink("the engine", c.Log)
	options := []nats.Option{nats.InProcessServer(c.Engine)}
	if c.Engine == nil {
		link.name = redacted(c.URL)
		options = c.remote()
	} else {
		// It is started anew where that is needed, and says so itself.
		link.limit, link.level, link.failure = embeddedTime, slog.LevelDebug, c.Engine.Failure
	}
	if err := link.connect(c.URL, options...); err != nil {
		return nil, c.unconnected(link, err)
	}
	l := &Log{link: link, engine: c.Engine, name: c.Stream}
	if err := l.open(ctx, c); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// remote is how to log in to a server elsewhere.
func (c Config) remote() (options []nats.Option) {
	if c.Credentials != "" {
		options = append(options, nats.UserCredentials(c.Credentials))
	}
	if c.CA != "" {
		options = append(options, nats.RootCAs(c.CA))
	}
	return options
}

// unconnected explains why there is no connection.
func (c Config) unconnected(k *link, err error) error {
	code := lofn.Invalid
	switch {
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded), c.Engine != nil:
		code = lofn.Unavailable
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		code = lofn.Unauthenticated
	}
	return lofn.Errorf(code, "the queue at %s cannot be reached: %w", k.name, err)
}

// redacted is a list of URLs without passwords.
func redacted(list string) string {
	var names []string
	for server := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if err != nil {
			return "its server" // the error may have a password too
		}
		names = append(names, u.Redacted())
	}
	return strings.Join(names, ", ")
}

// open finds the stream, or makes it.
func (l *Log) open(ctx context.Context, c Config) error {
	if most := l.link.conn.MaxPayload(); most < ledger.MaxRecordSize+headerBytes {
		return lofn.Errorf(lofn.Invalid, "%s takes messages of at most %d bytes, the queue needs %d: set max_payload to 1MB there",
			l.link.name, most, ledger.MaxRecordSize+headerBytes)
	}
	if c.Replicas > 1 && l.link.conn.ConnectedClusterName() == "" {
		// The server itself objects only at the first use.
		return l.link.fewServers(c, errors.New("it is a single server"))
	}
	ctx, cancel := l.link.bound(ctx)
	defer cancel()
	if _, err := l.link.js.AccountInfo(ctx); err != nil {
		return l.link.withoutJetStream(ctx, err)
	}
	var err error
	l.stream, err = l.link.js.Stream(ctx, l.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		l.stream, err = l.create(ctx, c)
	}
	if err == nil {
		err = l.fit(ctx, c)
	}
	if err == nil && l.engine != nil {
		err = l.engine.Intact(l.name, func() (first, last uint64, err error) { return l.ends(ctx) })
	}
	return l.link.unopened(ctx, err)
}

// unopened is translate for an Open. One that took too long may be tried again.
func (k *link) unopened(ctx context.Context, err error) error {
	if errors.Is(err, jetstream.ErrInvalidStreamName) {
		return lofn.Errorf(lofn.Invalid, "the name of the queue's stream cannot be: use letters, digits, '-' and '_': %w", err)
	}
	err = k.translate(ctx, err, "the queue cannot be opened")
	if err != nil && lofn.CodeOf(err) == lofn.DeadlineExceeded {
		return lofn.Errorf(lofn.Unavailable, "%w", err)
	}
	return err
}

func (k *link) withoutJetStream(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return lofn.Errorf(lofn.Unimplemented, "the account at %s may not use JetStream, which the queue needs: %w", k.name, err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return lofn.Errorf(lofn.Unimplemented, "%s has no JetStream, which the queue needs: start nats-server with -js, or with a jetstream block in its configuration: %w", k.name, err)
	}
	return k.unopened(ctx, err)
}

func (l *Log) create(ctx context.Context, c Config) (jetstream.Stream, error) {
	if l.engine != nil {
		if err := l.engine.Vacant(l.name); err != nil {
			return nil, err
		}
	}
	if err := l.ready(ctx, 0, false); err != nil {
		return nil, err
	}
	stream, err := l.link.js.CreateStream(ctx, jetstream.StreamConfig{
		Name:        l.name,
		Description: "lofn's asynchronous calls",
		Subjects:    []string{l.name},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		Replicas:    max(1, c.Replicas),
		AllowDirect: true,
		DenyDelete:  true,
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return l.link.js.Stream(ctx, l.name) // another process was faster
	}
	return stream, l.link.explain(err, c)
}

// explain says what to do where copies cannot be had.
func (k *link) explain(err error, c Config) error {
	switch apiCode(err) {
	case codeReplicasNotSupported, codeNoPeers:
		return k.fewServers(c, err)
	}
	return err
}

func (k *link) fewServers(c Config, err error) error {
	return lofn.Errorf(lofn.Invalid, "%s cannot keep %d copies of the queue: that takes a cluster of at least as many servers with JetStream: %w", k.name, c.Replicas, err)
}

// fit reports whether the stream keeps what is in it. Copies are made as many
// as are wanted.
func (l *Log) fit(ctx context.Context, c Config) error {
	has := l.stream.CachedInfo().Config
	for _, trait := range []struct {
		wrong bool
		text  string
	}{
		{len(has.Subjects) != 1 || has.Subjects[0] != l.name, fmt.Sprintf("has the subjects %q", has.Subjects)},
		{has.Storage != jetstream.FileStorage, "is in memory only"},
		{has.Retention != jetstream.LimitsPolicy, "removes what was read"},
		{has.MaxAge != 0 || has.MaxMsgs > 0 || has.MaxMsgsPerSubject > 0, "removes what is old"},
		{has.Discard != jetstream.DiscardNew && has.MaxBytes > 0, "removes the old when it is full"},
		{has.MaxMsgSize > 0 && has.MaxMsgSize < ledger.MaxRecordSize+headerBytes, "takes too small messages only"},
		{!has.AllowDirect, "allows no direct access"},
		{has.Sealed, "is sealed"},
		{has.Mirror != nil || len(has.Sources) > 0, "copies another one"},
	} {
		if trait.wrong {
			return lofn.Errorf(lofn.Invalid, "the stream %s at %s is not one that lofn made: it %s: remove it, or have lofn use another name", l.name, l.link.name, trait.text)
		}
	}
	if c.Replicas == 0 || c.Replicas == has.Replicas {
		return nil
	}
	has.Replicas = c.Replicas
	stream, err := l.link.js.UpdateStream(ctx, has)
	if err != nil {
		return l.link.explain(err, c)
	}
	l.stream = stream
	return nil
}
