package jetstream

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lofn"
)

// operationHeader marks the version of a record that stands for its deletion,
// as in any JetStream key-value bucket.
const (
	operationHeader = "KV-Operation"
	operationDelete = "DEL"
)

// Store is a lofn.Store: one bucket of an Engine. On the server it is a
// key-value bucket like any other, with a history of one.
type Store[T any] struct {
	engine  *Engine
	bucket  string
	codec   Codec[T]
	stream  jetstream.Stream
	witness *witness
}

// NewStore opens a bucket of the engine, making it at its first use. A bucket's
// name is made of letters, digits, '-' and '_'. It must be used with the codec
// that it was made with. All records are read once: if one cannot be, or some
// are missing, the error names the folder and says what to do.
func NewStore[T any](ctx context.Context, engine *Engine, bucket string, codec Codec[T]) (*Store[T], error) {
	s, entries, err := open[T](ctx, engine, bucket)
	if err != nil {
		return nil, err
	}
	s.codec = codec
	for e := range live(entries) {
		if _, err := s.record(e); err != nil {
			return nil, s.damaged(err)
		}
	}
	return s, nil
}

// Get implements lofn.Store.
func (s *Store[T]) Get(ctx context.Context, ref lofn.Ref) (lofn.Record[T], error) {
	e, err := s.latest(ctx, ref)
	if err != nil {
		return lofn.Record[T]{}, s.translate(err, ref.String()+" cannot be read")
	}
	return s.record(e)
}

// List implements lofn.Store.
func (s *Store[T]) List(ctx context.Context, namespace string) ([]lofn.Record[T], error) {
	if namespace != "" && lofn.ValidateNamespace(namespace) != nil {
		return nil, s.translate(ctx.Err(), s.bucket+" cannot be listed")
	}
	entries, err := s.snapshot(ctx, namespace)
	if err != nil {
		return nil, err
	}
	records := make([]lofn.Record[T], 0, len(entries))
	for e := range live(entries) {
		record, err := s.record(e)
		if err != nil {
			return nil, err
		}
		records = append(records, record)
	}
	return records, nil
}

// live yields the entries that are not deleted, ordered by their Ref.
func live(entries map[lofn.Ref]entry) func(yield func(entry) bool) {
	return func(yield func(entry) bool) {
		for _, ref := range slices.SortedFunc(maps.Keys(entries), lofn.Ref.Compare) {
			if e := entries[ref]; !e.deleted && !yield(e) {
				return
			}
		}
	}
}

// Put implements lofn.Store. A value that takes about 8 MiB or more is an error
// with code Invalid, a full disk one with code Unavailable.
func (s *Store[T]) Put(ctx context.Context, ref lofn.Ref, value T, expected lofn.Revision) (lofn.Revision, error) {
	if err := validate(ref); err != nil {
		return 0, err
	}
	data, err := s.codec.Encode(s.subject(ref), value)
	if err != nil {
		return 0, lofn.Errorf(lofn.Invalid, "%s cannot be stored: %w", ref, err)
	}
	if len(data) > maxValueBytes {
		return 0, lofn.Errorf(lofn.Invalid, "%s is too large: it takes %d bytes, at most %d are allowed", ref, len(data), maxValueBytes)
	}
	if err := s.engine.Ready(ctx, int64(len(data)), spareForPut); err != nil {
		return 0, s.translate(err, ref.String()+" was not stored")
	}
	revision, err := s.write(ctx, ref, data, uint64(expected))
	if err != nil {
		return 0, s.translate(err, ref.String()+" was not stored")
	}
	return lofn.Revision(revision), nil
}

// write puts data at the expected revision, 0 meaning that there is no record.
func (s *Store[T]) write(ctx context.Context, ref lofn.Ref, data []byte, expected uint64) (uint64, error) {
	message := &nats.Msg{Subject: s.subject(ref), Data: data}
	revision, err := s.publish(ctx, message, expected)
	if !wrongRevision(err) {
		return revision, err
	}
	if expected != 0 {
		return 0, conflict(ref)
	}
	// What is in the way may be no record but the marker of a deleted one.
	e, err := s.newest(ctx, ref)
	if err != nil {
		return 0, err
	}
	if e.deleted {
		revision, err = s.publish(ctx, message, e.revision)
	}
	if !e.deleted || wrongRevision(err) {
		return 0, lofn.Errorf(lofn.Exists, "%s exists already", ref)
	}
	return revision, err
}

// Delete implements lofn.Store. It works on a disk that is too full for Put.
func (s *Store[T]) Delete(ctx context.Context, ref lofn.Ref, expected lofn.Revision) error {
	e, err := s.latest(ctx, ref)
	if err != nil {
		return s.translate(err, ref.String()+" was not deleted")
	}
	if lofn.Revision(e.revision) != expected {
		return conflict(ref)
	}
	if err := s.engine.Ready(ctx, 0, spareForDelete); err != nil {
		return s.translate(err, ref.String()+" was not deleted")
	}
	_, err = s.publish(ctx, &nats.Msg{
		Subject: s.subject(ref),
		Header:  nats.Header{operationHeader: []string{operationDelete}},
	}, e.revision)
	if wrongRevision(err) {
		return conflict(ref)
	}
	return s.translate(err, ref.String()+" was not deleted")
}

// publish appends a version, if the one before it is still expected.
func (s *Store[T]) publish(ctx context.Context, message *nats.Msg, expected uint64) (uint64, error) {
	ack, err := s.engine.publish(ctx, message, jetstream.WithExpectLastSequencePerSubject(expected))
	if err != nil {
		return 0, err
	}
	s.witness.wrote(expected, ack.Sequence)
	return ack.Sequence, nil
}

// latest returns the entry of a record, or an error with code NotFound if it
// does not exist or was deleted.
func (s *Store[T]) latest(ctx context.Context, ref lofn.Ref) (entry, error) {
	if validate(ref) != nil {
		return entry{}, notFound(ref)
	}
	e, err := s.newest(ctx, ref)
	if err == nil && e.deleted {
		return entry{}, notFound(ref)
	}
	return e, err
}

// newest is latest with deleted records.
func (s *Store[T]) newest(ctx context.Context, ref lofn.Ref) (entry, error) {
	message, err := s.stream.GetLastMsgForSubject(ctx, s.subject(ref))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return entry{}, notFound(ref)
	}
	if err != nil {
		return entry{}, err
	}
	return s.entry(message.Subject, message.Sequence, message.Header.Get(operationHeader), message.Data)
}

// record decodes an entry.
func (s *Store[T]) record(e entry) (lofn.Record[T], error) {
	value, err := s.codec.Decode(s.subject(e.ref), e.data)
	if err != nil {
		return lofn.Record[T]{}, lofn.Errorf(lofn.Internal, "%s in the store of %s cannot be read: %w", e.ref, s.bucket, err)
	}
	return lofn.Record[T]{Ref: e.ref, Value: value, Revision: lofn.Revision(e.revision)}, nil
}

// streamName is that of the stream under the bucket, prefix what the subjects
// of its records begin with, and subject that of one record.
func (s *Store[T]) streamName() string          { return "KV_" + s.bucket }
func (s *Store[T]) prefix() string              { return "$KV." + s.bucket + "." }
func (s *Store[T]) subject(ref lofn.Ref) string { return s.prefix() + key(ref) }

// key is "namespace.name". A namespace has no dots, so it splits at the first
// one, whatever the name has.
func key(ref lofn.Ref) string { return ref.Namespace + "." + ref.Name }

func parseKey(key string) (lofn.Ref, bool) {
	namespace, name, ok := strings.Cut(key, ".")
	ref := lofn.Ref{Namespace: namespace, Name: name}
	return ref, ok && validate(ref) == nil
}

// validate accepts what any kind of record may be called: a secret's name is
// the widest.
func validate(ref lofn.Ref) error {
	if err := lofn.ValidateNamespace(ref.Namespace); err != nil {
		return err
	}
	if lofn.ValidateSecretName(ref.Name) != nil {
		return lofn.Errorf(lofn.Invalid, "name: %q is invalid: use a-z, 0-9, '-' and '.', with a letter or digit at both ends", ref.Name)
	}
	return nil
}
