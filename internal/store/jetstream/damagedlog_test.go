package jetstream_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lofn/internal/queue/jetstream"
)

// TestDamagedLog damages each file of the queue's log in each way. Afterwards
// all records are there, or an error says what is lost.
func TestDamagedLog(t *testing.T) {
	// The large ones take several of the server's files.
	sizes := []int{500, 300_000}
	if testing.Short() {
		sizes = sizes[:1]
	}
	for _, size := range sizes {
		pristine := t.TempDir()
		fillLog(t, pristine, size)
		for _, file := range files(t, pristine) {
			if !strings.Contains(file, jetstream.DefaultStream) || size > 500 && filepath.Ext(file) != ".blk" {
				continue
			}
			for _, d := range damages {
				if size > 500 && !strings.HasPrefix(d.name, "bit") && d.name != "removed" {
					continue
				}
				t.Run(fmt.Sprintf("%d/%s/%s", size, filepath.Base(file), d.name), func(t *testing.T) {
					dir := copyOf(t, pristine)
					path := filepath.Join(dir, file)
					content, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					if err := d.damage(path, content); err != nil {
						t.Fatal(err)
					}
					if checkLog(t, dir, size) != checkLog(t, dir, size) {
						t.Error("the second start says something else than the first")
					}
				})
			}
		}
	}
}

func fillLog(t *testing.T, dir string, size int) {
	t.Helper()
	engine := openEngine(t, dir)
	defer engine.Close()
	l, err := jetstream.Open(t.Context(), jetstream.Config{Engine: engine, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range uint64(damagedRecords) {
		if _, err := l.Append(t.Context(), i, []byte(value(fmt.Sprintf("r%d", i+1), size)), false); err != nil {
			t.Fatal(err)
		}
	}
}

// checkLog reports whether the damage did no harm.
func checkLog(t *testing.T, dir string, size int) bool {
	t.Helper()
	engine := openEngine(t, dir)
	defer engine.Close()
	read, err := readLog(t.Context(), engine, size)
	if err != nil {
		t.Logf("reported: %v", err)
		if !strings.Contains(err.Error(), dir) {
			t.Errorf("the error does not name %s: %v", dir, err)
		}
		return false
	}
	if read != damagedRecords {
		t.Errorf("%d of %d records are there, and no error", read, damagedRecords)
	}
	return true
}

func readLog(ctx context.Context, engine jetstream.Engine, size int) (read int, err error) {
	l, err := jetstream.Open(ctx, jetstream.Config{Engine: engine, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	defer l.Close()
	for r, err := range l.Read(ctx, 1) {
		if err != nil {
			return read, err
		}
		if string(r.Data) != value(fmt.Sprintf("r%d", r.Number), size) {
			return read, fmt.Errorf("record %d has other content", r.Number)
		}
		read++
	}
	return read, nil
}
