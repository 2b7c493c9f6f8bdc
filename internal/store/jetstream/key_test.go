package jetstream_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lofn"
	"lofn/internal/store/jetstream"
)

func TestLoadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets", "key")
	first, err := jetstream.LoadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 || info.Size() != 32 {
		t.Errorf("the file is %v, %v, want 32 bytes with mode 0600", info, err)
	}
	again, err := jetstream.LoadKey(path)
	if err != nil || again != first || first == (jetstream.Key{}) {
		t.Errorf("the second time: %v, the same: %t", err, again == first)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestLoadKeyAtTheSameTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	keys := make([]jetstream.Key, 16)
	var group sync.WaitGroup
	for i := range keys {
		group.Go(func() {
			var err error
			if keys[i], err = jetstream.LoadKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, key := range keys {
		if key != keys[0] {
			t.Fatal("two callers have different keys")
		}
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	for name, prepare := range map[string]func(path string) error{
		"can be read by others": func(path string) error { return os.WriteFile(path, make([]byte, 32), 0o644) },
		"31 bytes":              func(path string) error { return os.WriteFile(path, make([]byte, 31), 0o600) },
		"0 bytes":               func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"33 bytes":              func(path string) error { return os.WriteFile(path, make([]byte, 33), 0o600) },
		"is not a file":         func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := prepare(path); err != nil {
			t.Fatal(err)
		}
		_, err := jetstream.LoadKey(path)
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want an error that says so and names the file", name, err)
		}
	}
}

func TestKeyIsNotPrinted(t *testing.T) {
	key := jetstream.Key([]byte("0123456789abcdef0123456789abcdef"))
	for _, verb := range []string{"%v", "%s", "%+v", "%#v", "%x", "%q"} {
		if got := fmt.Sprintf(verb, key); strings.Contains(got, "0123") || strings.Contains(got, "3031") || strings.Contains(got, "0x30") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

// sealed is a store of secrets with its files.
type sealed struct{ dir, key string }

func newSealed(t *testing.T) sealed {
	dir := t.TempDir()
	return sealed{dir: filepath.Join(dir, "store"), key: filepath.Join(dir, "key")}
}

func (s sealed) open(t *testing.T) (*jetstream.Store[lofn.Secret], *jetstream.Engine, error) {
	t.Helper()
	engine := openEngine(t, s.dir)
	store, err := jetstream.NewSealedStore[lofn.Secret](t.Context(), engine, "secrets", s.key)
	return store, engine, err
}

var secretRefs = []lofn.Ref{
	{Namespace: "a", Name: "b.c"}, {Namespace: "a", Name: "b"}, {Namespace: "a", Name: "b.c.d"},
	{Namespace: "a-b", Name: "c"}, {Namespace: "a", Name: "b-c"}, {Namespace: "a", Name: "db.password-1"},
	{Namespace: "a", Name: strings.Repeat("x.", 126) + "x"},
}

func fillSecrets(t *testing.T, s sealed) {
	t.Helper()
	store, engine, err := s.open(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range secretRefs {
		if _, err := store.Put(t.Context(), ref, lofn.Secret{Value: []byte("plain value of " + ref.Name)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	engine.Close()
}

func TestSecretsAreEncryptedOnDisk(t *testing.T) {
	s := newSealed(t)
	fillSecrets(t, s)
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte("plain value")) || bytes.Contains(content, []byte("cGxhaW4gdmFsdWU")) {
			t.Errorf("%s has a secret in it", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSecretNamesWithDots(t *testing.T) {
	s := newSealed(t)
	fillSecrets(t, s)
	store, _, err := s.open(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range secretRefs {
		record, err := store.Get(t.Context(), ref)
		if err != nil || string(record.Value.Value) != "plain value of "+ref.Name || record.Ref != ref {
			t.Errorf("%s: got %q of %s, %v", ref, record.Value.Value, record.Ref, err)
		}
	}
	records, err := store.List(t.Context(), "a")
	if err != nil || len(records) != len(secretRefs)-1 {
		t.Errorf("List of namespace a has %d records, %v, want %d", len(records), err, len(secretRefs)-1)
	}
	for _, record := range records {
		if record.Ref.Namespace != "a" || string(record.Value.Value) != "plain value of "+record.Ref.Name {
			t.Errorf("List of namespace a has %s with %q", record.Ref, record.Value.Value)
		}
	}
}

func TestMissingKeyOverwritesNothing(t *testing.T) {
	s := newSealed(t)
	fillSecrets(t, s)
	key, err := os.ReadFile(s.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.key); err != nil {
		t.Fatal(err)
	}
	_, engine, err := s.open(t)
	if err == nil || !strings.Contains(err.Error(), s.key) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("without the key: %v, want an error that names the file", err)
	}
	engine.Close()
	if _, err := os.Stat(s.key); err == nil {
		t.Error("a new key was made for records that it cannot open")
	}
	if err := os.WriteFile(s.key, bytes.Repeat([]byte("x"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	_, engine, err = s.open(t)
	if err == nil || !strings.Contains(err.Error(), s.key) || !strings.Contains(err.Error(), "does not open") {
		t.Errorf("with another key: %v, want an error that names the file", err)
	}
	engine.Close()
	if err := os.WriteFile(s.key, key, 0o600); err != nil {
		t.Fatal(err)
	}
	store, _, err := s.open(t)
	if err != nil {
		t.Fatalf("with the key again: %v", err)
	}
	if _, err := store.Get(t.Context(), secretRefs[0]); err != nil {
		t.Errorf("with the key again: %v", err)
	}
}

func TestSealedValuesCannotBeMoved(t *testing.T) {
	codec := jetstream.Sealed[lofn.Secret](jetstream.Key{1})
	secret := lofn.Secret{Value: []byte("value")}
	first, err := codec.Encode("secrets.a.one", secret)
	if err != nil {
		t.Fatal(err)
	}
	second, err := codec.Encode("secrets.a.one", secret)
	if err != nil || bytes.Equal(first, second) {
		t.Errorf("the same value is encrypted alike twice, %v", err)
	}
	if got, err := codec.Decode("secrets.a.one", first); err != nil || string(got.Value) != "value" {
		t.Errorf("Decode: %q, %v", got.Value, err)
	}
	if _, err := codec.Decode("secrets.a.two", first); err == nil {
		t.Error("a value opens under another key")
	}
	if _, err := jetstream.Sealed[lofn.Secret](jetstream.Key{2}).Decode("secrets.a.one", first); err == nil {
		t.Error("a value opens with another secret key")
	}
	for i := range first {
		altered := bytes.Clone(first)
		altered[i] ^= 1
		if _, err := codec.Decode("secrets.a.one", altered); err == nil {
			t.Errorf("a value with byte %d altered opens", i)
		}
		if _, err := codec.Decode("secrets.a.one", first[:i]); err == nil {
			t.Errorf("a value cut at byte %d opens", i)
		}
	}
}
