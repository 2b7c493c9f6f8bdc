package jetstream_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"lofn"
	"lofn/internal/store/jetstream"
)

// BenchmarkStart measures a start over 1,000 functions and as many secrets, to
// the point where all of them were read.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	start := func() (*jetstream.Engine, *jetstream.Store[lofn.Function], *jetstream.Store[lofn.Secret]) {
		engine, err := jetstream.Open(b.Context(), jetstream.Config{Dir: filepath.Join(dir, "store"), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		functions, err := jetstream.NewStore(b.Context(), engine, "functions", jetstream.JSON[lofn.Function]())
		if err != nil {
			b.Fatal(err)
		}
		secrets, err := jetstream.NewSealedStore[lofn.Secret](b.Context(), engine, "secrets", filepath.Join(dir, "key"))
		if err != nil {
			b.Fatal(err)
		}
		return engine, functions, secrets
	}
	engine, functions, secrets := start()
	for i := range 1000 {
		ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: fmt.Sprintf("f%d", i)}
		fn := lofn.Function{Ref: ref, Spec: lofn.Spec{Image: "echo:1", Env: map[string]string{"mode": "http"}, Labels: map[string]string{"a": "b"}}}
		if _, err := functions.Put(b.Context(), ref, fn, 0); err != nil {
			b.Fatal(err)
		}
		if _, err := secrets.Put(b.Context(), ref, lofn.Secret{Value: make([]byte, 200)}, 0); err != nil {
			b.Fatal(err)
		}
	}
	engine.Close()
	for b.Loop() {
		engine, functions, _ := start()
		records, err := functions.List(b.Context(), "")
		if err != nil || len(records) != 1000 {
			b.Fatal(len(records), err)
		}
		b.StopTimer()
		engine.Close()
		b.StartTimer()
	}
}

func BenchmarkPut(b *testing.B) {
	engine, err := jetstream.Open(b.Context(), jetstream.Config{Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer engine.Close()
	store, err := jetstream.NewStore(b.Context(), engine, "functions", jetstream.JSON[lofn.Function]())
	if err != nil {
		b.Fatal(err)
	}
	ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "echo"}
	var revision lofn.Revision
	for b.Loop() {
		if revision, err = store.Put(b.Context(), ref, lofn.Function{Ref: ref}, revision); err != nil {
			b.Fatal(err)
		}
	}
}
