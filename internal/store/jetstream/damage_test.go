package jetstream_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lofn"
	"lofn/internal/store/jetstream"
)

// damages are what may have happened to a file while no engine ran.
var damages = []struct {
	name   string
	damage func(path string, content []byte) error
}{
	{"emptied", func(path string, _ []byte) error { return os.Truncate(path, 0) }},
	{"cut in half", func(path string, content []byte) error { return os.Truncate(path, int64(len(content)/2)) }},
	{"cut by a byte", func(path string, content []byte) error { return os.Truncate(path, int64(max(0, len(content)-1))) }},
	{"bit flipped at a quarter", func(path string, content []byte) error { return flip(path, content, len(content)/4) }},
	{"bit flipped in the middle", func(path string, content []byte) error { return flip(path, content, len(content)/2) }},
	{"bit flipped in the newest value", func(path string, content []byte) error { return flip(path, content, len(content)-200) }},
	{"bit flipped at the start", func(path string, content []byte) error { return flip(path, content, 0) }},
	{"bit flipped at the end", func(path string, content []byte) error { return flip(path, content, len(content)-1) }},
	{"zeroed", func(path string, content []byte) error { return os.WriteFile(path, make([]byte, len(content)), 0o600) }},
	{"garbage appended", func(path string, content []byte) error {
		return os.WriteFile(path, append(content, strings.Repeat("garbage", 100)...), 0o600)
	}},
	{"replaced by garbage", func(path string, _ []byte) error {
		return os.WriteFile(path, []byte(strings.Repeat("garbage", 1000)), 0o600)
	}},
	{"removed", func(path string, _ []byte) error { return os.Remove(path) }},
}

func flip(path string, content []byte, at int) error {
	if at < 0 || at >= len(content) {
		return nil
	}
	content[at] ^= 0x55
	return os.WriteFile(path, content, 0o600)
}

const damagedRecords = 40

// TestDamage damages each file of the engine in each way, after a clean end
// and after one that left no index. Afterwards all records are there, or an
// error says what is lost and where, at this start and at the next.
func TestDamage(t *testing.T) {
	// The large ones take several of the server's files.
	for _, size := range []int{500, 130_000} {
		pristine := t.TempDir()
		fill(t, pristine, size)
		for _, file := range files(t, pristine) {
			if size > 500 && filepath.Ext(file) != ".blk" {
				continue // as with small records
			}
			for _, d := range damages {
				if size > 500 && !strings.HasPrefix(d.name, "bit") && d.name != "removed" {
					continue
				}
				for _, index := range []bool{true, false} {
					t.Run(fmt.Sprintf("%d/%s/%s/index=%t", size, filepath.Base(file), d.name, index), func(t *testing.T) {
						dir := copyOf(t, pristine)
						if !index {
							removeIndex(t, dir)
						}
						path := filepath.Join(dir, file)
						content, err := os.ReadFile(path)
						if err != nil {
							t.Skip("there is no index to damage")
						}
						if err := d.damage(path, content); err != nil {
							t.Fatal(err)
						}
						if checkDamaged(t, dir, size) != checkDamaged(t, dir, size) {
							t.Error("the second start says something else than the first")
						}
					})
				}
			}
		}
	}
}

// copyOf copies a store. Hard links would do for what is not damaged, but the
// engine writes.
func copyOf(t *testing.T, pristine string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.CopyFS(dir, os.DirFS(pristine)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func removeIndex(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "jetstream/$G/streams/KV_functions/msgs/index.db")); err != nil {
		t.Fatal(err)
	}
}

// checkDamaged reports whether the damage did no harm.
func checkDamaged(t *testing.T, dir string, size int) bool {
	t.Helper()
	records, err := readAll(t, dir)
	if err != nil {
		t.Logf("reported: %v", err)
		if !strings.Contains(err.Error(), dir) {
			t.Errorf("the error does not name %s: %v", dir, err)
		}
		return false
	}
	if len(records) != damagedRecords {
		t.Errorf("%d of %d records are there, and no error", len(records), damagedRecords)
	}
	for _, record := range records {
		if record.Value.Spec.Env["CHECK"] != value(record.Ref.Name, size) {
			t.Errorf("%s has another value", record.Ref)
		}
	}
	return true
}

func value(name string, size int) string { return strings.Repeat(name, size/len(name)) }

func TestInterruptedFirstStart(t *testing.T) {
	for _, left := range [][]string{{}, {"meta.inf"}, {"meta.inf", "msgs/1.blk"}} {
		dir := t.TempDir()
		stream := filepath.Join(dir, "jetstream/$G/streams/KV_functions")
		if err := os.MkdirAll(filepath.Join(stream, "msgs"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range left {
			if err := os.WriteFile(filepath.Join(stream, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		fill(t, dir, 10)
		if records, err := readAll(t, dir); err != nil || len(records) != damagedRecords {
			t.Errorf("with %q left by the first start: %d records, %v", left, len(records), err)
		}
	}
}

// After the damage was reported, its witness is the way to go on.
func TestGoingOnWithWhatIsLeft(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 500)
	block := filepath.Join(dir, "jetstream/$G/streams/KV_functions/msgs/1.blk")
	info, err := os.Stat(block)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(block, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	witness := filepath.Join(dir, "functions.witness")
	if _, err := readAll(t, dir); err == nil || !strings.Contains(err.Error(), witness) {
		t.Fatalf("got %v, want an error that names %s", err, witness)
	}
	if err := os.Remove(witness); err != nil {
		t.Fatal(err)
	}
	if records, err := readAll(t, dir); err != nil || len(records) == 0 || len(records) >= damagedRecords {
		t.Errorf("without it there are %d records, %v, want some of %d", len(records), err, damagedRecords)
	}
}

func TestDamagedWitnessIsNoAlarm(t *testing.T) {
	for _, d := range damages {
		dir := t.TempDir()
		fill(t, dir, 10)
		path := filepath.Join(dir, "functions.witness")
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.damage(path, content); err != nil {
			t.Fatal(err)
		}
		if records, err := readAll(t, dir); err != nil || len(records) != damagedRecords {
			t.Errorf("witness %s: %d records, %v", d.name, len(records), err)
		}
	}
}

func readAll(t *testing.T, dir string) ([]lofn.Record[lofn.Function], error) {
	engine, err := jetstream.Open(t.Context(), jetstream.Config{Dir: dir, Log: testLog(t)})
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	store, err := jetstream.NewStore(t.Context(), engine, "functions", jetstream.JSON[lofn.Function]())
	if err != nil {
		return nil, err
	}
	return store.List(t.Context(), "")
}

// fill makes a store of damagedRecords functions of that many bytes, with some
// history.
func fill(t *testing.T, dir string, size int) {
	t.Helper()
	engine := openEngine(t, dir)
	store := openFunctions(t, engine)
	for i := range damagedRecords {
		fn := lofn.Function{Ref: lofn.Ref{Namespace: lofn.DefaultNamespace, Name: fmt.Sprintf("f%d", i)}}
		fn.Spec.Env = map[string]string{"CHECK": "first"}
		revision, err := store.Put(t.Context(), fn.Ref, fn, 0)
		if err != nil {
			t.Fatal(err)
		}
		fn.Spec.Env = map[string]string{"CHECK": value(fn.Name, size)}
		if _, err := store.Put(t.Context(), fn.Ref, fn, revision); err != nil {
			t.Fatal(err)
		}
	}
	engine.Close()
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
