package jetstream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"lofn"
)

// open returns the bucket without a codec, and all that is in it.
func open[T any](ctx context.Context, engine *Engine, bucket string) (*Store[T], map[lofn.Ref]entry, error) {
	s := &Store[T]{engine: engine, bucket: bucket}
	var err error
	if s.witness, err = engine.witness(bucket); err != nil {
		return nil, nil, err
	}
	s.stream, err = engine.client().Stream(ctx, s.streamName())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s.stream, err = s.create(ctx)
	}
	if err != nil {
		return nil, nil, s.translate(err, "the store of "+bucket+" cannot be opened")
	}
	entries, err := s.snapshot(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	return s, entries, s.compare(entries)
}

// compare reports whether records are missing, or older than they once were.
func (s *Store[T]) compare(entries map[lofn.Ref]entry) error {
	var now total
	for _, e := range entries {
		now += total(e.revision)
	}
	if !s.witness.saw(now) {
		return s.damaged(errors.New("some are missing, or older than they were"))
	}
	return nil
}

// damaged tells a person what to do about records that are lost.
func (s *Store[T]) damaged(cause error) error {
	return lofn.Errorf(lofn.Internal, "the records of %s in %s are damaged: %w: restore the folder from a backup; or, to go on with what is left, remove %s",
		s.bucket, s.engine.dir, cause, s.witness.path)
}

// create makes the bucket, unless there is one that the server could not load:
// it leaves out such a one, and would write over it.
func (s *Store[T]) create(ctx context.Context) (jetstream.Stream, error) {
	dir := s.engine.Place(s.streamName())
	// A process may have ended while it made the bucket: nothing was ever in it.
	if s.witness.saw(0) && hollow(dir) {
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(dir); err == nil {
		return nil, lofn.Errorf(lofn.Internal, "the records of %s in %s are damaged and cannot be read: restore %s from a backup; or, to start without them, move that folder away and remove %s",
			s.bucket, dir, s.engine.dir, s.witness.path)
	}
	if !s.witness.saw(0) {
		return nil, s.damaged(fmt.Errorf("the folder %s is missing", dir))
	}
	if err := s.engine.room(spareForPut); err != nil {
		return nil, err
	}
	if _, err := s.engine.client().CreateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket:  s.bucket,
		History: 1,
		Storage: jetstream.FileStorage,
	}); err != nil {
		return nil, err
	}
	return s.engine.client().Stream(ctx, s.streamName())
}

// hollow reports whether nothing is in the stream of which dir has the files.
func hollow(dir string) bool {
	blocks, err := filepath.Glob(filepath.Join(dir, "msgs", "*.blk"))
	return err == nil && !slices.ContainsFunc(blocks, func(block string) bool {
		info, err := os.Stat(block)
		return err != nil || info.Size() > 0
	})
}
