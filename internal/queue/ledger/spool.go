package ledger

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"
)

// InlineSize is the most that a body may have to be kept in the log itself, in
// bytes.
const InlineSize = 32 << 10

// spool is a body that is being written: into memory first, and into a blob
// once it is too large for the log.
type spool struct {
	ctx   context.Context
	blobs Blobs
	small []byte
	blob  Blob
	size  int64
}

func (s *spool) Write(p []byte) (int, error) {
	if s.blob == nil && len(s.small)+len(p) <= InlineSize {
		s.small = append(s.small, p...)
		s.size += int64(len(p))
		return len(p), nil
	}
	if s.blob == nil {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	n, err := s.blob.Write(p)
	s.size += int64(n)
	return n, err
}

// spill moves what is in memory to a blob.
func (s *spool) spill() (err error) {
	if s.blob, err = s.blobs.Create(s.ctx); err != nil {
		return err
	}
	_, err = s.blob.Write(s.small)
	s.small = nil
	return err
}

// Size implements lofn.Spool.
func (s *spool) Size() int64 { return s.size }

// Discard implements lofn.Spool.
func (s *spool) Discard() {
	if s.blob != nil {
		s.blob.Discard()
	}
}

// commit makes a blob durable and returns its name, "" if there is none.
func (s *spool) commit() (string, error) {
	if s == nil || s.blob == nil {
		return "", nil
	}
	return s.blob.Name(), s.blob.Commit()
}

// buffers are what bodies are read through, one byte larger than what the log
// takes: so that one read tells whether a body is small.
type buffers struct{ pool sync.Pool }

func newBuffers() *buffers {
	return &buffers{sync.Pool{New: func() any { return new([InlineSize + 1]byte) }}}
}

// readBody takes a body in. Small bodies are a part of the buffer, which release
// gives back; large ones are in the spool.
func (l *Ledger) readBody(ctx context.Context, body io.Reader) (small []byte, large *spool, release func(), err error) {
	if body == nil || body == http.NoBody {
		return nil, nil, func() {}, nil
	}
	buffer := l.buffers.pool.Get().(*[InlineSize + 1]byte)
	release = func() { l.buffers.pool.Put(buffer) }
	n := 0
	for n < len(buffer) {
		var more int
		more, err = body.Read(buffer[n:])
		n += more
		if err == io.EOF {
			return buffer[:n:n], nil, release, nil
		}
		if err != nil {
			return nil, nil, release, err
		}
	}
	large = &spool{ctx: ctx, blobs: l.Blobs}
	if _, err = large.Write(buffer[:]); err == nil {
		_, err = io.CopyBuffer(struct{ io.Writer }{large}, struct{ io.Reader }{body}, buffer[:])
	}
	if err != nil {
		large.Discard()
		return nil, nil, release, err
	}
	return nil, large, release, nil
}

// open returns a body that is in the log or in a blob.
func (l *Ledger) open(ctx context.Context, small []byte, blob string) (io.ReadCloser, error) {
	if blob != "" {
		return l.Blobs.Open(ctx, blob)
	}
	return io.NopCloser(bytes.NewReader(small)), nil
}
