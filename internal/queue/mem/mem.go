// Package mem keeps a queue in memory: the smallest log that the rules of
// package ledger work on. It is for tests, and is the specification of a log;
// nothing outlives the process.
package mem

import (
	"bytes"
	"context"
	"io"
	"iter"
	"strconv"
	"sync"
	"time"

	"lofn"
	"lofn/internal/queue/ledger"
)

// New returns an empty queue. Due, if not nil, is told of lanes in which
// something has become due. The error of a log in memory is always nil, and so
// is this one's.
func New(limits lofn.QueueLimits, due func(lofn.Lane)) (*ledger.Ledger, error) {
	return ledger.Open(context.Background(), ledger.Config{Log: NewLog(), Blobs: NewBlobs(), Limits: limits, Worker: "mem", Due: due})
}

// Log implements ledger.Log. Handles of one queue share one.
type Log struct {
	mu      sync.Mutex
	first   uint64
	records [][]byte
}

// NewLog returns an empty log.
func NewLog() *Log { return &Log{first: 1} }

// Append implements ledger.Log.
func (l *Log) Append(_ context.Context, after uint64, data []byte, _ bool) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.first + uint64(len(l.records))
	if after != next-1 {
		return 0, ledger.ErrBehind
	}
	l.records = append(l.records, data)
	return next, nil
}

// Read implements ledger.Log.
func (l *Log) Read(_ context.Context, from uint64) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		l.mu.Lock()
		from := max(from, l.first)
		records := l.records[min(from-l.first, uint64(len(l.records))):]
		l.mu.Unlock()
		for i, data := range records {
			if !yield(ledger.Record{Number: from + uint64(i), Data: data}, nil) {
				return
			}
		}
	}
}

// Get implements ledger.Log.
func (l *Log) Get(_ context.Context, number uint64) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := number - l.first; i < uint64(len(l.records)) {
		return l.records[i], nil
	}
	return nil, lofn.Errorf(lofn.NotFound, "record %d is not in the log", number)
}

// Trim implements ledger.Log.
func (l *Log) Trim(_ context.Context, before uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(before-min(before, l.first), uint64(len(l.records)))
	l.records = l.records[n:]
	l.first += n
	return nil
}

// Blobs implements ledger.Blobs.
type Blobs struct {
	mu     sync.Mutex
	number int
	blobs  map[string][]byte
}

// NewBlobs returns a place without blobs.
func NewBlobs() *Blobs { return &Blobs{blobs: make(map[string][]byte)} }

// Create implements ledger.Blobs.
func (b *Blobs) Create(context.Context) (ledger.Blob, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.number++
	return &blob{in: b, name: strconv.Itoa(b.number)}, nil
}

// Open implements ledger.Blobs.
func (b *Blobs) Open(_ context.Context, name string) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.blobs[name]
	if !ok {
		return nil, lofn.Errorf(lofn.NotFound, "there is no body %q", name)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// Remove implements ledger.Blobs.
func (b *Blobs) Remove(_ context.Context, name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.blobs, name)
	return nil
}

// Names implements ledger.Blobs. In memory, none is older than this moment.
func (b *Blobs) Names(context.Context) iter.Seq2[string, time.Time] {
	return func(yield func(string, time.Time) bool) {
		b.mu.Lock()
		names := make([]string, 0, len(b.blobs))
		for name := range b.blobs {
			names = append(names, name)
		}
		b.mu.Unlock()
		for _, name := range names {
			if !yield(name, time.Now()) {
				return
			}
		}
	}
}

type blob struct {
	in   *Blobs
	name string
	data []byte
}

func (b *blob) Write(p []byte) (int, error) {
	b.data = append(b.data, p...)
	return len(p), nil
}

// Name implements ledger.Blob.
func (b *blob) Name() string { return b.name }

// Commit implements ledger.Blob.
func (b *blob) Commit() error {
	b.in.mu.Lock()
	defer b.in.mu.Unlock()
	b.in.blobs[b.name] = b.data
	return nil
}

// Discard implements ledger.Blob.
func (b *blob) Discard() { b.data = nil }
