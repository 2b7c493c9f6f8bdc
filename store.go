package lofn

import (
	"context"
	"iter"
	"time"
)

// Revision identifies one version of a record in a Store. Revisions of the
// same key grow; 0 stands for "does not exist".
type Revision uint64

// Record is a value in a Store with the revision it was read at.
type Record[T any] struct {
	Ref      Ref
	Value    T
	Revision Revision
}

// Change is a record that was put, or with Deleted set the Ref of one that was
// deleted, and nothing else of it.
type Change[T any] struct {
	Record[T]
	Deleted bool
	// Synced is set on exactly one change of a watch: it carries no record and
	// comes after the last record that existed when the watch began.
	Synced bool
}

// Store keeps records of one kind durably. All methods are safe for concurrent
// use, and a method that returned nil has its effect on disk.
//
// internal/store/storetest is the specification as tests, and
// internal/store/mem the smallest implementation that passes them.
type Store[T any] interface {
	// Get returns the record, or an error with code NotFound.
	Get(ctx context.Context, ref Ref) (Record[T], error)

	// List returns the records of a namespace, or of all where namespace is
	// empty, ordered by Ref.
	List(ctx context.Context, namespace string) ([]Record[T], error)

	// Put writes the record if its revision is still expected, 0 meaning that
	// it must not exist, and returns the new revision. Otherwise the error has
	// code Exists (expected was 0) or Conflict. A Ref whose namespace is no DNS
	// label, or whose name is no DNS subdomain, is an error with code Invalid;
	// elsewhere it is one that does not exist.
	Put(ctx context.Context, ref Ref, value T, expected Revision) (Revision, error)

	// Delete removes the record if its revision is still expected. The error
	// has code NotFound if there is none, or Conflict.
	Delete(ctx context.Context, ref Ref, expected Revision) error

	// Watch yields every record that exists, then one change with Synced set,
	// then the changes in order, until the context ends or an error is
	// yielded. A reader that falls behind gets the latest state of a record
	// without those before it: one that was deleted and made anew may show as
	// a single change.
	Watch(ctx context.Context) iter.Seq2[Change[T], error]
}

// Namespace groups functions and secrets. In a Store its Ref has the same
// Namespace and Name.
type Namespace struct {
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Secret is a value that functions of its namespace may be given as a file.
// Stores keep it encrypted.
type Secret struct {
	Value     []byte    `json:"value"`
	UpdatedAt time.Time `json:"updatedAt"`
}
