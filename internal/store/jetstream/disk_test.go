package jetstream_test

import (
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
