package jetstream_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lofn"
	"lofn/internal/queue/jetstream"
	"lofn/internal/queue/ledger"
)

// smallDisk mounts a disk of that many MiB, or skips the test.
func smallDisk(t *testing.T, mebibytes string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+mebibytes+"m"); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk leaves that many bytes free on a disk, and returns the file that
// takes the rest.
func fillDisk(t *testing.T, disk string, free int64) string {
	t.Helper()
	path := filepath.Join(disk, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(0)
	for chunk := make([]byte, 64<<10); err == nil; {
		var n int
		n, err = f.Write(chunk)
		size += int64(n)
	}
	if err := f.Truncate(max(0, size-free)); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustBeFull(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || lofn.CodeOf(err) != lofn.Full || !strings.Contains(err.Error(), "full") {
		t.Fatalf("%s: %v, want code Full and the reason", what, err)
	}
}

// On a disk that gets full, records are refused first, then urgent ones too;
// what is there stays, is read and trimmed, and it goes on when there is room.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, "64")
	l := openLog(t, jetstream.Config{Engine: openEngine(t, filepath.Join(disk, "engine")), Log: testLog(t)})
	blobs, err := jetstream.OpenDir(filepath.Join(disk, "bodies"))
	if err != nil {
		t.Fatal(err)
	}
	kept := writeBlob(t, blobs, pattern(1000))
	mustAppend(t, l, 0, "a")
	ballast := fillDisk(t, disk, 8<<20)
	_, err = l.Append(t.Context(), 1, []byte("b"), false)
	mustBeFull(t, "Append with 8 MiB left", err)
	if _, err := l.Append(t.Context(), 1, []byte("urgent"), true); err != nil {
		t.Fatalf("an urgent one with 8 MiB left: %v", err)
	}
	blob, err := blobs.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = blob.Write(pattern(1000))
	mustBeFull(t, "a body with 8 MiB left", err)
	blob.Discard()
	fillDisk(t, disk, 0)
	_, err = l.Append(t.Context(), 2, []byte("c"), true)
	mustBeFull(t, "an urgent one on a full disk", err)
	mustRead(t, l, 1, "1:a", "2:urgent")
	if err := l.Trim(t.Context(), 2); err != nil {
		t.Errorf("Trim on a full disk: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, 2, "c")
	mustRead(t, l, 1, "2:urgent", "3:c")
	checkBlob(t, blobs, kept, pattern(1000))
	wantNames(t, blobs, kept)
}

// TestServerRunsIntoTheEndOfTheDisk mounts a small disk under the stream's files
// alone, where nobody looks before a record is written: as when somebody else
// takes the last byte in between.
func TestServerRunsIntoTheEndOfTheDisk(t *testing.T) {
	dir := t.TempDir()
	engine := openEngine(t, dir)
	last := mustAppend(t, openLog(t, jetstream.Config{Engine: engine, Log: testLog(t)}), 0, "first")
	place := engine.Place(jetstream.DefaultStream)
	engine.Close()
	disk := smallDisk(t, "8")
	if err := os.CopyFS(filepath.Join(disk, "stream"), os.DirFS(place)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(filepath.Join(disk, "stream"), place, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("a folder cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(place, 0); err != nil {
			t.Error(err)
		}
	})
	engine = openEngine(t, dir)
	l := openLog(t, jetstream.Config{Engine: engine, Log: testLog(t)})
	large := string(pattern(500 << 10))
	acked := []uint64{last}
	for range 3 {
		ballast := fillDisk(t, disk, 1<<20)
		acked = append(acked, appendUntilRefused(t, l, &last, large)...)
		checkRead(t, l, acked, &last)
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if err := l.Trim(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		acked = []uint64{last}
		last = appendSomehow(t, l, last)
		acked = append(acked, last)
	}
	engine.Close()
	checkRead(t, openLog(t, jetstream.Config{Engine: openEngine(t, dir), Log: testLog(t)}), acked, &last)
}

// appendUntilRefused returns which records were acknowledged.
func appendUntilRefused(t *testing.T, l ledger.Log, last *uint64, data string) (acked []uint64) {
	t.Helper()
	for {
		number, err := l.Append(t.Context(), *last, []byte(data), false)
		if err != nil {
			if code := lofn.CodeOf(err); code != lofn.Full {
				t.Errorf("Append: %v, want code Full", err)
			}
			return acked
		}
		*last = number
		acked = append(acked, number)
	}
}

// checkRead checks that what was acknowledged can be read, and says what the
// last one is.
func checkRead(t *testing.T, l ledger.Log, acked []uint64, last *uint64) {
	t.Helper()
	there := make(map[uint64]bool)
	for r, err := range l.Read(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		there[r.Number], *last = true, r.Number
	}
	for _, number := range acked {
		if !there[number] {
			t.Errorf("record %d was acknowledged, and is not there", number)
		}
	}
}
