package jetstream_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lofn"
	"lofn/internal/store/jetstream"
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

// A full disk refuses a Put, keeps what was there, lets records be read and
// deleted, and takes records again when there is room.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, "40")
	engine := openEngine(t, filepath.Join(disk, "store"))
	store := openFunctions(t, engine)
	ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}
	first, err := store.Put(t.Context(), ref, lofn.Function{Ref: ref, Replicas: 1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "ballast")
	fillDisk(t, ballast)
	_, err = store.Put(t.Context(), ref, lofn.Function{Ref: ref, Replicas: 2}, first)
	if lofn.CodeOf(err) != lofn.Unavailable || !strings.Contains(err.Error(), "disk is full") {
		t.Fatalf("Put on a full disk: %v, want code Unavailable and the reason", err)
	}
	record, err := store.Get(t.Context(), ref)
	if err != nil || record.Value.Replicas != 1 || record.Revision != first {
		t.Fatalf("after it there is %+v, %v, want the old value", record, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	second, err := store.Put(t.Context(), ref, lofn.Function{Ref: ref, Replicas: 3}, first)
	if err != nil {
		t.Fatalf("Put after space was freed: %v", err)
	}
	fillDisk(t, ballast)
	engine.Close()
	if records, err := readAll(t, filepath.Join(disk, "store")); err != nil || len(records) != 1 || records[0].Revision != second {
		t.Errorf("a start on a full disk: %+v, %v", records, err)
	}
}

func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(chunk)
	}
}

func TestFolderThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := jetstream.Open(t.Context(), jetstream.Config{Dir: filepath.Join(file, "store"), Log: testLog(t)})
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want an error that names %s", err, file)
	}
}

func TestClosedEngine(t *testing.T) {
	engine := openEngine(t, t.TempDir())
	store := openFunctions(t, engine)
	ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var last error
		for change, err := range store.Watch(t.Context()) {
			if last = err; change.Synced {
				close(started)
			}
		}
		ended <- last
	}()
	<-started
	engine.Close()
	engine.Close()
	if err := <-ended; lofn.CodeOf(err) != lofn.Unavailable {
		t.Errorf("the watch ended with %v, want code Unavailable", err)
	}
	if _, err := store.Put(t.Context(), ref, lofn.Function{Ref: ref}, 0); lofn.CodeOf(err) != lofn.Unavailable {
		t.Errorf("Put: %v, want code Unavailable", err)
	}
	if _, err := store.Get(t.Context(), ref); lofn.CodeOf(err) != lofn.Unavailable {
		t.Errorf("Get: %v, want code Unavailable", err)
	}
	if _, err := store.List(t.Context(), ""); lofn.CodeOf(err) != lofn.Unavailable {
		t.Errorf("List: %v, want code Unavailable", err)
	}
}

// A deletion is a way to free space, so it works where a Put does not; and on
// a disk without a single byte it does no harm.
func TestDeleteOnFullDisk(t *testing.T) {
	disk := smallDisk(t, "40")
	engine := openEngine(t, filepath.Join(disk, "store"))
	store := openFunctions(t, engine)
	echo := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}
	revision, err := store.Put(t.Context(), echo, lofn.Function{Ref: echo}, 0)
	if err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "ballast")
	fillDisk(t, ballast)
	if err := store.Delete(t.Context(), echo, revision); lofn.CodeOf(err) != lofn.Unavailable {
		t.Errorf("Delete on a disk without a byte: %v, want code Unavailable", err)
	}
	info, err := os.Stat(ballast)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(ballast, info.Size()-4<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), echo, lofn.Function{Ref: echo}, revision); lofn.CodeOf(err) != lofn.Unavailable {
		t.Errorf("Put on a disk with 4 MiB: %v, want code Unavailable", err)
	}
	if err := store.Delete(t.Context(), echo, revision); err != nil {
		t.Errorf("Delete on a disk with 4 MiB: %v", err)
	}
}

// TestServerRunsIntoTheEndOfTheDisk mounts a small disk under the server's
// files alone, where the engine does not look before it writes: as when
// somebody else takes the last byte in between. The server gives up then; what
// it acknowledged stays, watches go on, and it recovers with the disk.
func TestServerRunsIntoTheEndOfTheDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	fill(t, dir, 500)
	disk := smallDisk(t, "8")
	stream := filepath.Join(dir, "jetstream/$G/streams/KV_functions")
	if err := os.CopyFS(filepath.Join(disk, "stream"), os.DirFS(stream)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(filepath.Join(disk, "stream"), stream, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("a folder cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(stream, 0); err != nil {
			t.Error(err)
		}
	})
	engine := openEngine(t, dir)
	store := openFunctions(t, engine)
	seen := make(chan string, 10_000)
	go func() {
		defer close(seen)
		for change := range store.Watch(t.Context()) {
			seen <- change.Ref.Name
		}
	}()
	ballast := filepath.Join(disk, "ballast")
	fillDisk(t, ballast)
	acked := putUntilRefused(t, store)
	if _, err := store.List(t.Context(), ""); err != nil {
		t.Errorf("List while the disk is full: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	last := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "after"}
	if _, err := store.Put(t.Context(), last, lofn.Function{Ref: last}, 0); err != nil {
		t.Fatalf("Put after space was freed: %v", err)
	}
	for name := range seen {
		if name == last.Name {
			break
		}
	}
	engine.Close()
	records, err := readAll(t, dir)
	if err != nil || len(records) != damagedRecords+acked+1 {
		t.Errorf("there are %d records, %v, want %d", len(records), err, damagedRecords+acked+1)
	}
}

// putUntilRefused puts new records until that fails, and returns how many were
// acknowledged.
func putUntilRefused(t *testing.T, store lofn.Store[lofn.Function]) int {
	t.Helper()
	for acked := 0; ; acked++ {
		ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: fmt.Sprintf("more%d", acked)}
		_, err := store.Put(t.Context(), ref, lofn.Function{Ref: ref}, 0)
		if err == nil {
			continue
		}
		if lofn.CodeOf(err) != lofn.Unavailable || !strings.Contains(err.Error(), "disk") {
			t.Errorf("Put: %v, want code Unavailable and the disk named", err)
		}
		return acked
	}
}
