package jetstream_test

import (
	"log/slog"
	"testing"

	"lofn"
	"lofn/internal/store/jetstream"
	"lofn/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) lofn.Store[lofn.Function] {
		return openFunctions(t, openEngine(t, t.TempDir()))
	})
}

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func openEngine(t *testing.T, dir string) *jetstream.Engine {
	t.Helper()
	engine, err := jetstream.Open(t.Context(), jetstream.Config{Dir: dir, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Close)
	return engine
}

func openFunctions(t *testing.T, engine *jetstream.Engine) *jetstream.Store[lofn.Function] {
	t.Helper()
	store, err := jetstream.NewStore(t.Context(), engine, "functions", jetstream.JSON[lofn.Function]())
	if err != nil {
		t.Fatal(err)
	}
	return store
}
