package jetstream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lofn"
	"lofn/internal/queue/jetstream"
	"lofn/internal/queue/ledger"
)

func openBucket(t testing.TB, l *jetstream.Log) *jetstream.Bucket {
	t.Helper()
	b, err := l.Bucket(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// blobPlace is where blobs are: its folder, and a way to open them.
type blobPlace struct {
	dir  string
	open func(t *testing.T) ledger.Blobs
}

func blobsEverywhere(t *testing.T, test func(t *testing.T, p blobPlace)) {
	t.Run("folder", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "a", "bodies")
		test(t, blobPlace{dir, func(t *testing.T) ledger.Blobs {
			blobs, err := jetstream.OpenDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			return blobs
		}})
	})
	t.Run("bucket", func(t *testing.T) {
		server := startServer(t)
		test(t, blobPlace{filepath.Dir(server.config), func(t *testing.T) ledger.Blobs { return openBucket(t, server.open(t)) }})
	})
}

// pattern is content in which no part is like another.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i, x := 0, uint32(1); i < n; i++ {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func writeBlob(t *testing.T, blobs ledger.Blobs, content []byte) (name string) {
	t.Helper()
	blob, err := blobs.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Discard()
	if n, err := io.Copy(onlyWriter{blob}, bytes.NewReader(content)); err != nil || n != int64(len(content)) {
		t.Fatalf("%d of %d bytes were written: %v", n, len(content), err)
	}
	if _, err := blobs.Open(t.Context(), blob.Name()); lofn.CodeOf(err) != lofn.NotFound || err == nil {
		t.Errorf("Open before Commit: %v, want code NotFound", err)
	}
	if err := blob.Commit(); err != nil {
		t.Fatal(err)
	}
	return blob.Name()
}

type onlyWriter struct{ io.Writer }

func checkBlob(t *testing.T, blobs ledger.Blobs, name string, want []byte) {
	t.Helper()
	r, err := blobs.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back as %d, %v", len(want), len(got), err)
	}
}

func names(t *testing.T, blobs ledger.Blobs) []string {
	t.Helper()
	var all []string
	for name, written := range blobs.Names(t.Context()) {
		if written.IsZero() {
			t.Errorf("%s was never written to", name)
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func wantNames(t *testing.T, blobs ledger.Blobs, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := names(t, blobs); !slices.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
}

func TestBlobs(t *testing.T) {
	blobsEverywhere(t, func(t *testing.T, p blobPlace) {
		blobs := p.open(t)
		wantNames(t, blobs)
		var all []string
		for _, size := range []int{0, 1, 128 << 10, 128<<10 + 1, 3<<20 - 7} {
			name := writeBlob(t, blobs, pattern(size))
			checkBlob(t, blobs, name, pattern(size))
			all = append(all, name)
			wantNames(t, blobs, all...)
		}
		again := p.open(t)
		for _, name := range all {
			if err := again.Remove(t.Context(), name); err != nil {
				t.Error(err)
			}
			if _, err := blobs.Open(t.Context(), name); err == nil || lofn.CodeOf(err) != lofn.NotFound {
				t.Errorf("Open after Remove: %v, want code NotFound", err)
			}
			if err := again.Remove(t.Context(), name); err != nil {
				t.Errorf("Remove of nothing: %v", err)
			}
		}
		wantNames(t, blobs)
	})
}

func TestDiscardedBlob(t *testing.T) {
	blobsEverywhere(t, func(t *testing.T, p blobPlace) {
		blobs := p.open(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		blob, err := blobs.Create(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := blob.Write(pattern(1 << 20)); err != nil {
			t.Fatal(err)
		}
		wantNames(t, blobs, blob.Name())
		cancel()
		blob.Discard()
		blob.Discard()
		wantNames(t, blobs)
		kept := writeBlob(t, blobs, pattern(1000)) // Discard follows Commit there
		checkBlob(t, blobs, kept, pattern(1000))
		abandoned, err := blobs.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := abandoned.Write(pattern(1 << 20)); err != nil {
			t.Fatal(err)
		}
		if err := p.open(t).Remove(t.Context(), abandoned.Name()); err != nil {
			t.Fatal(err)
		}
		wantNames(t, blobs, kept)
	})
}

func TestNamesThatLeadElsewhere(t *testing.T) {
	blobsEverywhere(t, func(t *testing.T, p blobPlace) {
		blobs := p.open(t)
		kept := writeBlob(t, blobs, pattern(1000))
		for _, name := range []string{"", ".", "..", "../x", "/etc/passwd", "*", ">", kept + ".new", kept + "/.."} {
			if _, err := blobs.Open(t.Context(), name); err == nil || lofn.CodeOf(err) != lofn.NotFound {
				t.Errorf("Open(%q): %v, want code NotFound", name, err)
			}
			if err := blobs.Remove(t.Context(), name); err != nil {
				t.Errorf("Remove(%q): %v", name, err)
			}
		}
		checkBlob(t, blobs, kept, pattern(1000))
	})
}

// What is removed takes no room any more.
func TestRemovedBlobsTakeNoRoom(t *testing.T) {
	const size, count = 4 << 20, 10
	blobsEverywhere(t, func(t *testing.T, p blobPlace) {
		blobs := p.open(t)
		var all []string
		for range count {
			all = append(all, writeBlob(t, blobs, pattern(size)))
		}
		kept := writeBlob(t, blobs, pattern(1000))
		if used := diskUse(t, p.dir); used < size*count {
			t.Fatalf("%d bytes are used, and %d were written", used, size*count)
		}
		for _, name := range all {
			if err := blobs.Remove(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		// A server keeps files of 8 MiB, and a whole one for what is left in it.
		wait(t, "what was removed is gone from the disk", func() bool { return diskUse(t, p.dir) < 9<<20 })
		checkBlob(t, blobs, kept, pattern(1000))
	})
}

func diskUse(t *testing.T, dir string) (total int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // removed meanwhile
		}
		if info, err := d.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return total
}

func TestBlobFilesAreTheOwnersOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bodies")
	blobs, err := jetstream.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, writeBlob(t, blobs, pattern(10)))} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
	}
}

// What a reader gets of a body that is removed meanwhile is an error, not a
// shorter body.
func TestRemovedWhileRead(t *testing.T) {
	server := startServer(t)
	bucket := openBucket(t, server.open(t))
	name := writeBlob(t, bucket, pattern(1<<20))
	r, err := bucket.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Read(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := bucket.Remove(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); err == nil || errors.Is(err, io.EOF) || lofn.CodeOf(err) != lofn.NotFound {
		t.Errorf("the rest: %v, want code NotFound", err)
	}
}

// Other clients of the server can read what lofn wrote: it is an object like
// any other.
func TestBucketIsAnObjectStore(t *testing.T) {
	server := startServer(t)
	name := writeBlob(t, openBucket(t, server.open(t)), pattern(1<<20))
	objects, err := raw(t, server).ObjectStore(t.Context(), jetstream.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	got, err := objects.GetBytes(t.Context(), name)
	if err != nil || !bytes.Equal(got, pattern(1<<20)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
