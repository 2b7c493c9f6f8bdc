package jetstream

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"lofn"
)

// Store is a lofn.Store: one bucket of an Engine.
type Store[T any] struct {
	engine *Engine
	bucket string
	codec  Codec[T]
	kv     jetstream.KeyValue
}

// NewStore opens a bucket of the engine, making it at its first use. A bucket's
// name is made of letters, digits, '-' and '_'. It must be used with the codec
// that it was made with.
func NewStore[T any](ctx context.Context, engine *Engine, bucket string, codec Codec[T]) (*Store[T], error) {
	s := &Store[T]{engine: engine, bucket: bucket, codec: codec}
	kv, err := engine.js.KeyValue(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = s.create(ctx)
	}
	if err != nil {
		return nil, s.translate(err, "the store of "+bucket+" cannot be opened")
	}
	s.kv = kv
	return s, nil
}

func (s *Store[T]) create(ctx context.Context) (jetstream.KeyValue, error) {
	dir := s.engine.streamDir(s.stream())
	if _, err := os.Stat(dir); err == nil {
		// The server leaves out what it cannot load, and would write over it.
		return nil, lofn.Errorf(lofn.Internal, "the records of %s in %s are damaged and cannot be read: restore the folder from a backup, or move it away to start without them", s.bucket, dir)
	}
	if err := s.engine.room(0); err != nil {
		return nil, err
	}
	return s.engine.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket:  s.bucket,
		History: 1,
		Storage: jetstream.FileStorage,
	})
}

// stream is the name of the stream under the bucket, and prefix what the
// subjects of its records begin with.
func (s *Store[T]) stream() string { return "KV_" + s.bucket }
func (s *Store[T]) prefix() string { return "$KV." + s.bucket + "." }

// Get implements lofn.Store.
func (s *Store[T]) Get(ctx context.Context, ref lofn.Ref) (lofn.Record[T], error) {
	if validate(ref) != nil {
		return lofn.Record[T]{}, notFound(ref)
	}
	e, err := s.kv.Get(ctx, key(ref))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return lofn.Record[T]{}, notFound(ref)
	}
	if err != nil {
		return lofn.Record[T]{}, s.translate(err, ref.String()+" cannot be read")
	}
	return s.record(entry{key: e.Key(), ref: ref, revision: e.Revision(), data: e.Value()})
}

// List implements lofn.Store.
func (s *Store[T]) List(ctx context.Context, namespace string) ([]lofn.Record[T], error) {
	if namespace != "" && lofn.ValidateNamespace(namespace) != nil {
		return nil, ctx.Err()
	}
	entries, err := s.snapshot(ctx, namespace)
	if err != nil {
		return nil, err
	}
	records := make([]lofn.Record[T], 0, len(entries))
	for _, ref := range slices.SortedFunc(maps.Keys(entries), lofn.Ref.Compare) {
		record, err := s.record(entries[ref])
		if err != nil {
			return nil, err
		}
		records = append(records, record)
	}
	return records, nil
}

// snapshot returns the entries that exist, of one namespace or of all.
func (s *Store[T]) snapshot(ctx context.Context, namespace string) (map[lofn.Ref]entry, error) {
	entries := make(map[lofn.Ref]entry)
	visit := func(e entry) bool {
		if e.deleted {
			delete(entries, e.ref)
		} else {
			entries[e.ref] = e
		}
		return true
	}
	synced := false
	err := s.replay(ctx, namespace, visit, func() bool {
		synced = true
		return false
	})
	if err == nil && !synced {
		err = s.translate(ctx.Err(), s.bucket+" cannot be listed")
	}
	return entries, err
}

// Put implements lofn.Store. A value that takes more than 8 MiB is an error
// with code Invalid, a full disk one with code Unavailable.
func (s *Store[T]) Put(ctx context.Context, ref lofn.Ref, value T, expected lofn.Revision) (lofn.Revision, error) {
	if err := validate(ref); err != nil {
		return 0, err
	}
	data, err := s.codec.Encode(s.prefix()+key(ref), value)
	if err != nil {
		return 0, lofn.Errorf(lofn.Invalid, "%s cannot be stored: %w", ref, err)
	}
	if len(data) > maxValueBytes {
		return 0, lofn.Errorf(lofn.Invalid, "%s is too large: it takes %d bytes, at most %d are allowed", ref, len(data), maxValueBytes)
	}
	if err := s.engine.room(len(data)); err != nil {
		return 0, err
	}
	revision, err := s.write(ctx, ref, data, expected)
	return lofn.Revision(revision), err
}

func (s *Store[T]) write(ctx context.Context, ref lofn.Ref, data []byte, expected lofn.Revision) (uint64, error) {
	if expected == 0 {
		revision, err := s.kv.Create(ctx, key(ref), data)
		if wrongRevision(err) {
			return 0, lofn.Errorf(lofn.Exists, "%s exists already", ref)
		}
		return revision, s.translate(err, ref.String()+" was not stored")
	}
	revision, err := s.kv.Update(ctx, key(ref), data, uint64(expected))
	if wrongRevision(err) {
		return 0, conflict(ref)
	}
	return revision, s.translate(err, ref.String()+" was not stored")
}

// Delete implements lofn.Store.
func (s *Store[T]) Delete(ctx context.Context, ref lofn.Ref, expected lofn.Revision) error {
	if validate(ref) != nil {
		return notFound(ref)
	}
	_, err := s.kv.Get(ctx, key(ref))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return notFound(ref)
	case err != nil:
		return s.translate(err, ref.String()+" was not deleted")
	case expected == 0:
		return conflict(ref)
	}
	err = s.kv.Delete(ctx, key(ref), jetstream.LastRevision(uint64(expected)))
	if wrongRevision(err) {
		return conflict(ref)
	}
	return s.translate(err, ref.String()+" was not deleted")
}

// record decodes an entry.
func (s *Store[T]) record(e entry) (lofn.Record[T], error) {
	value, err := s.codec.Decode(s.prefix()+e.key, e.data)
	if err != nil {
		return lofn.Record[T]{}, lofn.Errorf(lofn.Internal, "%s in the store of %s cannot be read: %w", e.ref, s.bucket, err)
	}
	return lofn.Record[T]{Ref: e.ref, Value: value, Revision: lofn.Revision(e.revision)}, nil
}

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
