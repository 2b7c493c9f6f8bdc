package ledger

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Log is a sequence of records that several processes append to and that all
// of them read in the same order. Numbers begin with 1 and have no gaps. A Log
// is safe for concurrent use.
type Log interface {
	// Append adds a record if the last one still has the number after, 0 for
	// none, and returns the new one's number when it is durable. ErrBehind says
	// that there are others by now, an error with code Full that the disk has no
	// room for it, and one with code Unavailable that it was not sent at all; in
	// these three cases nothing was appended. After any other error it may have
	// been, or may still be.
	//
	// A record that only frees what others take is urgent: it may use room that
	// is kept back from the others.
	Append(ctx context.Context, after uint64, data []byte, urgent bool) (uint64, error)

	// Read yields the records from the number on, in order, to the one that was
	// the last when it began. Where records were trimmed it begins with the
	// first that there is. A missing record between two others is an error.
	Read(ctx context.Context, from uint64) iter.Seq2[Record, error]

	// Get returns one record's data.
	Get(ctx context.Context, number uint64) ([]byte, error)

	// Trim drops the records before the number.
	Trim(ctx context.Context, before uint64) error
}

// Record is an element of a Log.
type Record struct {
	Number uint64
	Data   []byte
}

// MaxRecordSize bounds a record, in bytes: what a NATS server takes by default
// is 1 MiB, its own headers included.
const MaxRecordSize = 1<<20 - 32<<10

// ErrBehind says that a log has records that whoever appends has not read.
var ErrBehind = errors.New("the log has gone on")

// Blobs keeps bodies that are too large for a record. It is safe for concurrent
// use.
type Blobs interface {
	// Create returns a blob to be written. Nobody can open it before Commit.
	Create(ctx context.Context) (Blob, error)
	// Open returns a blob's content, or an error with code NotFound.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// Remove deletes a blob. That there is none is no error.
	Remove(ctx context.Context, name string) error
	// Names yields the blobs that there are, with the times since which nothing
	// was written to them. Those that were never committed are among them.
	Names(ctx context.Context) iter.Seq2[string, time.Time]
}

// Blob is one that is being written. It is not safe for concurrent use.
type Blob interface {
	// Write has an error with code Full if the disk has no room.
	io.Writer
	// Name is what to open it by, unique for all time.
	Name() string
	// Commit makes it durable.
	Commit() error
	// Discard removes it. After Commit it does nothing.
	Discard()
}
