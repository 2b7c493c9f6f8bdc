package jetstream

import (
	"context"
	"encoding/json"
	"hash"
	"io"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lofn"
)

// bucketBlob is a ledger.Blob that becomes an object.
type bucketBlob struct {
	bucket    *Bucket
	ctx       context.Context
	name      string
	chunk     []byte
	size      uint64
	chunks    uint32
	digest    hash.Hash
	err       error // the first one: what follows it is not to be kept
	committed bool
}

// Name implements ledger.Blob.
func (b *bucketBlob) Name() string { return b.name }

// Write implements ledger.Blob.
func (b *bucketBlob) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), cap(b.chunk)-len(b.chunk))]
		b.chunk = append(b.chunk, part...)
		p, n = p[len(part):], n+len(part)
		if len(b.chunk) < cap(b.chunk) {
			break
		}
		if err := b.flush(); err != nil {
			return n - len(part), err
		}
	}
	return n, nil
}

// flush sends what was written as a message of its own.
func (b *bucketBlob) flush() error {
	if len(b.chunk) == 0 || b.err != nil {
		return b.err
	}
	b.err = b.publish(&nats.Msg{Subject: b.bucket.contentSubject(b.name), Data: b.chunk})
	b.digest.Write(b.chunk)
	b.size += uint64(len(b.chunk))
	b.chunks++
	b.chunk = b.chunk[:0]
	return b.err
}

func (b *bucketBlob) publish(m *nats.Msg) error {
	k := b.bucket.link
	return k.ask(b.ctx, "a body was not kept", func(ctx context.Context) error {
		_, err := k.js.PublishMsg(ctx, m)
		return err
	})
}

// Commit implements ledger.Blob. It does not end with the context: what was
// written whole is to be kept.
func (b *bucketBlob) Commit() error {
	b.ctx = context.WithoutCancel(b.ctx)
	if err := b.flush(); err != nil {
		return err
	}
	about, err := json.Marshal(jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: b.name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkBytes}},
		Bucket:     b.bucket.name,
		NUID:       b.name,
		Size:       b.size,
		Chunks:     b.chunks,
		Digest:     jetstream.GetObjectDigestValue(b.digest),
	})
	if err != nil {
		return err
	}
	m := &nats.Msg{Subject: b.bucket.aboutSubject(b.name), Data: about, Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}}
	if err := b.publish(m); err != nil {
		return err
	}
	b.committed = true
	return nil
}

// Discard implements ledger.Blob. Nobody waits for long where the server is away:
// what stays is found by Names.
func (b *bucketBlob) Discard() {
	if b.committed {
		return
	}
	if err := b.bucket.remove(context.WithoutCancel(b.ctx), b.name, b.bucket.link.ask); err != nil {
		b.bucket.link.log.Debug("queue: an unfinished body stays for now", "error", err)
	}
}

// bucketReader reads an object, one message at a time.
type bucketReader struct {
	bucket *Bucket
	ctx    context.Context
	cancel context.CancelFunc
	about  jetstream.ObjectInfo
	next   uint64 // where the next message is looked for
	chunk  []byte
	size   uint64 // of what was read
	digest hash.Hash
}

// Read implements io.Reader.
func (r *bucketReader) Read(p []byte) (int, error) {
	for len(r.chunk) == 0 {
		if r.size == r.about.Size {
			return 0, r.check()
		}
		if err := r.fetch(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	return n, nil
}

func (r *bucketReader) fetch() error {
	err := r.bucket.link.insist(r.ctx, "a body cannot be read on", func(ctx context.Context) error {
		found, err := r.bucket.link.get(ctx, r.bucket.stream, r.next, r.bucket.contentSubject(r.about.NUID))
		if err == nil {
			r.next, r.chunk = found.Sequence+1, found.Data
		}
		return err
	})
	if err != nil && lofn.CodeOf(err) == lofn.NotFound {
		return lofn.Errorf(lofn.NotFound, "the rest of the body %q is not kept any more", r.about.Name)
	}
	r.size += uint64(len(r.chunk))
	r.digest.Write(r.chunk)
	return err
}

// check is what comes after the last message.
func (r *bucketReader) check() error {
	if jetstream.GetObjectDigestValue(r.digest) != r.about.Digest {
		return lofn.Errorf(lofn.Internal, "the body %q is damaged", r.about.Name)
	}
	return io.EOF
}

// Close implements io.Closer.
func (r *bucketReader) Close() error {
	r.cancel()
	return nil
}
