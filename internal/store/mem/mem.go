// Package mem keeps records in memory. It is the specification of lofn.Store
// in the fewest lines, for tests and for reading; nothing survives the process.
package mem

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"slices"
	"sync"

	"lofn"
)

// Store is a lofn.Store in memory. The zero value is not usable: call New.
type Store[T any] struct {
	mu       sync.Mutex
	revision lofn.Revision
	entries  map[lofn.Ref]entry
	// changed is closed, and replaced, when an entry changes.
	changed chan struct{}
}

// entry is the latest version of a key. A deleted key keeps its entry, so that
// watchers which have not seen the deletion yet learn of it.
type entry struct {
	ref      lofn.Ref
	revision lofn.Revision
	deleted  bool
	// data is JSON, so that no caller shares memory with the store and a value
	// comes back as it would from a disk.
	data []byte
}

// New returns an empty store.
func New[T any]() *Store[T] {
	return &Store[T]{entries: make(map[lofn.Ref]entry), changed: make(chan struct{})}
}

// Get implements lofn.Store.
func (s *Store[T]) Get(ctx context.Context, ref lofn.Ref) (lofn.Record[T], error) {
	if err := ctx.Err(); err != nil {
		return lofn.Record[T]{}, contextError(err)
	}
	s.mu.Lock()
	e, ok := s.entries[ref]
	s.mu.Unlock()
	if !ok || e.deleted {
		return lofn.Record[T]{}, notFound(ref)
	}
	return decode[T](e)
}

// List implements lofn.Store.
func (s *Store[T]) List(ctx context.Context, namespace string) ([]lofn.Record[T], error) {
	if err := ctx.Err(); err != nil {
		return nil, contextError(err)
	}
	var records []lofn.Record[T]
	for _, e := range s.after(0) {
		if e.deleted || namespace != "" && e.ref.Namespace != namespace {
			continue
		}
		record, err := decode[T](e)
		if err != nil {
			return nil, err
		}
		records = append(records, record)
	}
	slices.SortFunc(records, func(a, b lofn.Record[T]) int { return a.Ref.Compare(b.Ref) })
	return records, nil
}

// Put implements lofn.Store.
func (s *Store[T]) Put(ctx context.Context, ref lofn.Ref, value T, expected lofn.Revision) (lofn.Revision, error) {
	if err := ctx.Err(); err != nil {
		return 0, contextError(err)
	}
	if err := validate(ref); err != nil {
		return 0, err
	}
	data, err := json.Marshal(value)
	if err != nil {
		return 0, lofn.Errorf(lofn.Invalid, "%s cannot be stored: %w", ref, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch current := s.current(ref); {
	case current == expected:
		return s.write(entry{ref: ref, data: data}), nil
	case expected == 0:
		return 0, lofn.Errorf(lofn.Exists, "%s exists already", ref)
	default:
		return 0, conflict(ref)
	}
}

// Delete implements lofn.Store.
func (s *Store[T]) Delete(ctx context.Context, ref lofn.Ref, expected lofn.Revision) error {
	if err := ctx.Err(); err != nil {
		return contextError(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch current := s.current(ref); {
	case current == 0:
		return notFound(ref)
	case current != expected:
		return conflict(ref)
	}
	s.write(entry{ref: ref, deleted: true})
	return nil
}

// Watch implements lofn.Store.
func (s *Store[T]) Watch(ctx context.Context) iter.Seq2[lofn.Change[T], error] {
	return func(yield func(lofn.Change[T], error) bool) {
		var seen lofn.Revision
		for synced := false; ctx.Err() == nil; {
			changed := s.nextChange()
			for _, e := range s.after(seen) {
				seen = e.revision
				if e.deleted && !synced {
					continue
				}
				change, err := toChange[T](e)
				if ctx.Err() != nil || !yield(change, err) || err != nil {
					return
				}
			}
			if !synced {
				synced = true
				if ctx.Err() != nil || !yield(lofn.Change[T]{Synced: true}, nil) {
					return
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// current returns the revision of ref, 0 if there is none. The caller holds mu.
func (s *Store[T]) current(ref lofn.Ref) lofn.Revision {
	if e := s.entries[ref]; !e.deleted {
		return e.revision
	}
	return 0
}

// write records e as the next revision. The caller holds mu.
func (s *Store[T]) write(e entry) lofn.Revision {
	s.revision++
	e.revision = s.revision
	s.entries[e.ref] = e
	close(s.changed)
	s.changed = make(chan struct{})
	return e.revision
}

func (s *Store[T]) nextChange() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// after returns the entries with a later revision than seen, oldest first.
func (s *Store[T]) after(seen lofn.Revision) []entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var later []entry
	for _, e := range s.entries {
		if e.revision > seen {
			later = append(later, e)
		}
	}
	slices.SortFunc(later, func(a, b entry) int { return cmp.Compare(a.revision, b.revision) })
	return later
}

func toChange[T any](e entry) (lofn.Change[T], error) {
	if e.deleted {
		return lofn.Change[T]{Record: lofn.Record[T]{Ref: e.ref}, Deleted: true}, nil
	}
	record, err := decode[T](e)
	return lofn.Change[T]{Record: record}, err
}

func decode[T any](e entry) (lofn.Record[T], error) {
	record := lofn.Record[T]{Ref: e.ref, Revision: e.revision}
	if err := json.NewDecoder(bytes.NewReader(e.data)).Decode(&record.Value); err != nil {
		return lofn.Record[T]{}, lofn.Errorf(lofn.Internal, "%s cannot be read: %w", e.ref, err)
	}
	return record, nil
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

func notFound(ref lofn.Ref) error {
	return lofn.Errorf(lofn.NotFound, "%s does not exist", ref)
}

func conflict(ref lofn.Ref) error {
	return lofn.Errorf(lofn.Conflict, "%s was changed by somebody else: read it again and retry", ref)
}

// contextError says that the caller's context ended before the work began.
func contextError(err error) error {
	return lofn.Errorf(lofn.DeadlineExceeded, "the store was not asked in time: %w", err)
}
