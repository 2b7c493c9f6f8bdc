package jetstream_test

import (
	"path/filepath"
	"testing"

	"lofn/internal/queue/jetstream"
	"lofn/internal/queue/ledger"
	"lofn/internal/queue/queuetest"
)

func TestQueueEmbedded(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, func(t *testing.T) queuetest.Storage {
		dir := t.TempDir()
		engine := openEngine(t, filepath.Join(dir, "engine"))
		return queuetest.Storage{Connect: func(t *testing.T) (ledger.Log, ledger.Blobs) {
			bodies, err := jetstream.OpenDir(filepath.Join(dir, "bodies"))
			if err != nil {
				t.Fatal(err)
			}
			return openLog(t, jetstream.Config{Engine: engine, Log: testLog(t)}), bodies
		}}
	})
}

// TestQueueExternal runs Debian's nats-server, which is killed and started
// again in the middle.
func TestQueueExternal(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, func(t *testing.T) queuetest.Storage {
		server := startServer(t)
		return queuetest.Storage{
			Connect: func(t *testing.T) (ledger.Log, ledger.Blobs) {
				l := server.open(t)
				return l, openBucket(t, l)
			},
			Interrupt: func(t *testing.T) {
				server.kill()
				server.start(t)
			},
		}
	})
}
