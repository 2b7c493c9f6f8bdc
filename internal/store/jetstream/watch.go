package jetstream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lofn"
)

const (
	// idleTime is how long to wait for the next existing record before asking
	// the server whether there is one.
	idleTime = 500 * time.Millisecond
	// idleLimit is how often the server may say that there is one, and not
	// deliver it, before the record counts as lost.
	idleLimit = 4
)

// entry is the latest version of a key as the engine has it.
type entry struct {
	key      string
	ref      lofn.Ref
	revision uint64
	// deleted marks the version that stands for a deletion. It has no data.
	deleted bool
	data    []byte
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

// snapshot returns the latest version of every key, of one namespace or of
// all; deleted keys are among them.
func (s *Store[T]) snapshot(ctx context.Context, namespace string) (map[lofn.Ref]entry, error) {
	entries := make(map[lofn.Ref]entry)
	visit := func(e entry) bool {
		entries[e.ref] = e
		return true
	}
	whole := false
	err := s.replay(ctx, namespace, visit, func() bool {
		whole = true
		return false
	})
	if err == nil && !whole {
		err = s.translate(ctx.Err(), s.bucket+" cannot be listed")
	}
	return entries, err
}

// replay calls visit with the latest version of each key, then synced, then
// visit with every later version, until one of them returns false or the
// context ends. Neither is an error.
func (s *Store[T]) replay(ctx context.Context, namespace string, visit func(entry) bool, synced func() bool) error {
	if ctx.Err() != nil {
		return nil
	}
	filter := s.prefix() + ">"
	if namespace != "" {
		filter = s.prefix() + namespace + ".>"
	}
	consumer, err := s.engine.client().OrderedConsumer(ctx, s.streamName(), jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter},
		DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
	})
	if err != nil {
		return s.translate(err, s.bucket+" cannot be followed")
	}
	defer s.forget(consumer)
	messages, err := consumer.Messages(jetstream.PullMaxMessages(64))
	if err != nil {
		return s.translate(err, s.bucket+" cannot be followed")
	}
	defer messages.Stop()
	more, err := s.existing(ctx, consumer, messages, visit)
	if err != nil || !more || !synced() {
		return err
	}
	for more && err == nil {
		more, _, err = s.deliver(ctx, messages, visit)
	}
	return err
}

// existing delivers the versions that exist. It returns false if visit did, or
// the context ended.
func (s *Store[T]) existing(ctx context.Context, consumer jetstream.Consumer, messages jetstream.MessagesContext, visit func(entry) bool) (more bool, err error) {
	if consumer.CachedInfo().NumPending == 0 {
		return true, nil
	}
	for received, idle := uint64(0), 0; ; {
		wait, cancel := context.WithTimeout(ctx, idleTime)
		more, pending, err := s.deliver(wait, messages, visit)
		timedOut := !more && err == nil && wait.Err() != nil
		cancel()
		switch {
		case err != nil, ctx.Err() != nil, !more && !timedOut:
			return false, err
		case more && pending == 0:
			return true, nil
		case more:
			received++
			idle = 0
			continue
		}
		if idle++; idle > idleLimit {
			return false, s.damaged(fmt.Errorf("%d were read, and the next one cannot be", received))
		}
		// What was counted may have been replaced before it was delivered.
		info, err := consumer.Info(ctx)
		if err == nil && info.NumPending == 0 && info.Delivered.Consumer == received {
			return true, nil
		}
	}
}

// deliver waits for the next version and visits it. It returns false if visit
// did, or the context ended, and how many versions are waiting behind it.
func (s *Store[T]) deliver(ctx context.Context, messages jetstream.MessagesContext, visit func(entry) bool) (more bool, pending uint64, err error) {
	message, err := messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		if ctx.Err() != nil {
			return false, 0, nil
		}
		return false, 0, s.translate(err, s.bucket+" cannot be followed")
	}
	metadata, err := message.Metadata()
	if err != nil {
		return false, 0, s.translate(err, s.bucket+" cannot be followed")
	}
	e, err := s.entry(message.Subject(), metadata.Sequence.Stream, message.Headers().Get(operationHeader), message.Data())
	if err != nil {
		return false, 0, err
	}
	return visit(e), metadata.NumPending, nil
}

// entry makes an entry of what the engine has under a subject.
func (s *Store[T]) entry(subject string, revision uint64, operation string, data []byte) (entry, error) {
	e := entry{key: strings.TrimPrefix(subject, s.prefix()), revision: revision, deleted: operation != "", data: data}
	ref, ok := parseKey(e.key)
	if !ok {
		return entry{}, lofn.Errorf(lofn.Internal, "the store of %s has a record with the key %q, which lofn did not write", s.bucket, e.key)
	}
	e.ref = ref
	return e, nil
}

// forget removes a consumer that the server would otherwise keep for minutes.
func (s *Store[T]) forget(consumer jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.engine.client().DeleteConsumer(ctx, s.streamName(), consumer.CachedInfo().Name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && s.engine.connects() {
		s.engine.log.Debug("store: a finished watch was not released", "bucket", s.bucket, "error", err)
	}
}
