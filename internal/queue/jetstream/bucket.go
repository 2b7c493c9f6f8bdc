package jetstream

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lofn"
	"lofn/internal/queue/ledger"
)

// chunkBytes is how much of a body is one message, and in memory.
const chunkBytes = 128 << 10

// Bucket is a ledger.Blobs in the server that has the log: a JetStream object
// store, so what is in it other clients can list and read.
//
// The library's own reader and writer of objects are not used. They keep
// hundreds of megabytes under way, and put one deadline on the whole body.
//
// A server before 2.10 frees the room of what is removed in pieces of 8 MiB,
// each when nothing in it is left.
type Bucket struct {
	link   *link
	name   string
	stream jetstream.Stream
}

// Bucket opens the bodies that belong to the log, with as many copies.
func (l *Log) Bucket(ctx context.Context) (*Bucket, error) {
	b := &Bucket{link: l.link, name: l.name}
	replicas := l.stream.CachedInfo().Config.Replicas
	err := l.link.ask(ctx, "the store of large bodies cannot be opened", func(ctx context.Context) (err error) {
		_, err = l.link.js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{
			Bucket:      b.name,
			Description: "large bodies of lofn's asynchronous calls",
			Storage:     jetstream.FileStorage,
			Replicas:    replicas,
		})
		if err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
			return err
		}
		if b.stream, err = l.link.js.Stream(ctx, "OBJ_"+b.name); err != nil {
			return err
		}
		if has := b.stream.CachedInfo().Config; has.Replicas != replicas {
			has.Replicas = replicas
			b.stream, err = l.link.js.UpdateStream(ctx, has)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// An object is messages with its content and one about it, each kind with a
// subject.
func (b *Bucket) subject(kind string) string        { return "$O." + b.name + "." + kind + "." }
func (b *Bucket) contentSubject(name string) string { return b.subject("C") + name }
func (b *Bucket) aboutSubject(name string) string {
	return b.subject("M") + base64.URLEncoding.EncodeToString([]byte(name))
}

// Create implements ledger.Blobs. The context is that of the writes, too.
func (b *Bucket) Create(ctx context.Context) (ledger.Blob, error) {
	return &bucketBlob{bucket: b, ctx: ctx, name: rand.Text(), chunk: make([]byte, 0, chunkBytes), digest: sha256.New()}, nil
}

// Open implements ledger.Blobs. The context is that of the reads, too.
func (b *Bucket) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if !validName(name) {
		return nil, noBlob(name)
	}
	var about jetstream.ObjectInfo
	err := b.link.insist(ctx, "a body cannot be read", func(ctx context.Context) error {
		found, err := b.link.get(ctx, b.stream, 1, b.aboutSubject(name))
		if err != nil {
			return err
		}
		return json.Unmarshal(found.Data, &about)
	})
	if err != nil && lofn.CodeOf(err) == lofn.NotFound {
		return nil, noBlob(name)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	return &bucketReader{bucket: b, ctx: ctx, cancel: cancel, about: about, next: 1, digest: sha256.New()}, nil
}

// Remove implements ledger.Blobs.
func (b *Bucket) Remove(ctx context.Context, name string) error {
	if !validName(name) {
		return nil
	}
	return b.remove(ctx, name, b.link.insist)
}

// asking is how to make a request: once, or until it is answered.
type asking func(ctx context.Context, what string, request func(context.Context) error) error

// remove begins with what is about the body: nobody opens half a one.
func (b *Bucket) remove(ctx context.Context, name string, ask asking) error {
	err := b.purge(ctx, ask, jetstream.WithPurgeSubject(b.aboutSubject(name)))
	for err == nil {
		var first message
		err = ask(ctx, "a body cannot be removed", func(ctx context.Context) (err error) {
			first, err = b.link.get(ctx, b.stream, 1, b.contentSubject(name))
			return err
		})
		if err != nil && lofn.CodeOf(err) == lofn.NotFound {
			return nil
		}
		if err == nil {
			err = b.purge(ctx, ask, jetstream.WithPurgeSubject(b.contentSubject(name)), jetstream.WithPurgeSequence(first.Sequence+purgeStep))
		}
	}
	return err
}

// purgeStep is how many messages the server removes at once, for nobody else
// gets to the bodies meanwhile.
const purgeStep = 1024

func (b *Bucket) purge(ctx context.Context, ask asking, what ...jetstream.StreamPurgeOpt) error {
	return ask(ctx, "a body was not removed", func(ctx context.Context) error { return b.stream.Purge(ctx, what...) })
}

// Names implements ledger.Blobs.
func (b *Bucket) Names(ctx context.Context) iter.Seq2[string, time.Time] {
	return func(yield func(string, time.Time) bool) {
		subjects, err := b.subjects(ctx)
		if err != nil {
			b.link.log.Warn("queue: large bodies cannot be listed", "error", err)
			return
		}
		for name, subject := range subjects {
			var written time.Time
			err := b.link.ask(ctx, "a body cannot be examined", func(ctx context.Context) error {
				last, err := b.stream.GetLastMsgForSubject(ctx, subject)
				if err == nil {
					written = last.Time
				}
				return err
			})
			if err == nil && !yield(name, written) {
				return
			}
		}
	}
}

// subjects are those of all objects by their names: that of the content, if
// there is some.
func (b *Bucket) subjects(ctx context.Context) (map[string]string, error) {
	subjects := make(map[string]string)
	err := b.link.ask(ctx, "large bodies cannot be listed", func(ctx context.Context) error {
		info, err := b.stream.Info(ctx, jetstream.WithSubjectFilter("$O."+b.name+".>"))
		if err != nil {
			return err
		}
		for subject := range info.State.Subjects {
			if name, ok := strings.CutPrefix(subject, b.subject("C")); ok {
				subjects[name] = subject
				continue
			}
			name, err := base64.URLEncoding.DecodeString(strings.TrimPrefix(subject, b.subject("M")))
			if err == nil && subjects[string(name)] == "" {
				subjects[string(name)] = subject
			}
		}
		return nil
	})
	return subjects, err
}
