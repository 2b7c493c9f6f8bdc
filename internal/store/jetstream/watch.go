package jetstream

import (
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lofn"
)

// entry is a version of a record as the engine has it.
type entry struct {
	key      string
	ref      lofn.Ref
	revision uint64
	deleted  bool
	data     []byte
}

// Watch implements lofn.Store. A reader that falls behind is given the latest
// version of a record, not those in between: the engine keeps only one.
func (s *Store[T]) Watch(ctx context.Context) iter.Seq2[lofn.Change[T], error] {
	return func(yield func(lofn.Change[T], error) bool) {
		// shown holds what the reader knows to exist, until it is synced: a
		// deletion of anything else is older than the watch.
		shown := make(map[lofn.Ref]bool)
		synced := false
		visit := func(e entry) bool {
			if !synced {
				if e.deleted && !shown[e.ref] {
					return true
				}
				shown[e.ref] = !e.deleted
			}
			change, err := s.change(e)
			return yield(change, err) && err == nil
		}
		err := s.replay(ctx, "", visit, func() bool {
			synced, shown = true, nil
			return yield(lofn.Change[T]{Synced: true}, nil)
		})
		if err != nil && ctx.Err() == nil {
			yield(lofn.Change[T]{}, err)
		}
	}
}

func (s *Store[T]) change(e entry) (lofn.Change[T], error) {
	if e.deleted {
		return lofn.Change[T]{Record: lofn.Record[T]{Ref: e.ref}, Deleted: true}, nil
	}
	record, err := s.record(e)
	return lofn.Change[T]{Record: record}, err
}

// replay calls visit with the latest entry of each key, then synced, then
// visit with every later entry, until one of them returns false or the context
// ends. Neither is an error.
func (s *Store[T]) replay(ctx context.Context, namespace string, visit func(entry) bool, synced func() bool) error {
	if ctx.Err() != nil {
		return nil
	}
	filter := s.prefix() + ">"
	if namespace != "" {
		filter = s.prefix() + namespace + ".>"
	}
	consumer, err := s.engine.js.OrderedConsumer(ctx, s.stream(), jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter},
		DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
	})
	if err != nil {
		return s.translate(err, s.bucket+" cannot be followed")
	}
	defer s.forget(consumer)
	if consumer.CachedInfo().NumPending == 0 {
		if !synced() {
			return nil
		}
		synced = nil
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(64))
	if err != nil {
		return s.translate(err, s.bucket+" cannot be followed")
	}
	defer messages.Stop()
	return s.deliver(ctx, messages, visit, synced)
}

// deliver is the loop of replay; synced is nil if it was called already.
func (s *Store[T]) deliver(ctx context.Context, messages jetstream.MessagesContext, visit func(entry) bool, synced func() bool) error {
	for {
		message, err := messages.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return s.translate(err, s.bucket+" cannot be followed")
		}
		e, pending, err := s.entry(message)
		if err != nil {
			return err
		}
		if !visit(e) || ctx.Err() != nil {
			return nil
		}
		if synced != nil && pending == 0 {
			if !synced() {
				return nil
			}
			synced = nil
		}
	}
}

// entry reads a message of the stream, and how many are waiting behind it.
func (s *Store[T]) entry(message jetstream.Msg) (e entry, pending uint64, err error) {
	metadata, err := message.Metadata()
	if err != nil {
		return entry{}, 0, s.translate(err, s.bucket+" cannot be followed")
	}
	e = entry{
		key:      strings.TrimPrefix(message.Subject(), s.prefix()),
		revision: metadata.Sequence.Stream,
		deleted:  message.Headers().Get("KV-Operation") != "",
		data:     message.Data(),
	}
	ref, ok := parseKey(e.key)
	if !ok {
		return entry{}, 0, lofn.Errorf(lofn.Internal, "the store of %s has a record with the key %q, which lofn did not write", s.bucket, e.key)
	}
	e.ref = ref
	return e, metadata.NumPending, nil
}

// forget removes a consumer that the server would otherwise keep for minutes.
func (s *Store[T]) forget(consumer jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.engine.js.DeleteConsumer(ctx, s.stream(), consumer.CachedInfo().Name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !s.engine.conn.IsClosed() {
		s.engine.log.Debug("store: a finished watch was not released", "bucket", s.bucket, "error", err)
	}
}
