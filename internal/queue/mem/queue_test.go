package mem_test

import (
	"testing"

	"lofn/internal/queue/ledger"
	"lofn/internal/queue/mem"
	"lofn/internal/queue/queuetest"
)

func TestQueue(t *testing.T) {
	queuetest.Run(t, func(*testing.T) queuetest.Storage {
		log, blobs := mem.NewLog(), mem.NewBlobs()
		return queuetest.Storage{Connect: func(*testing.T) (ledger.Log, ledger.Blobs) { return log, blobs }}
	})
}
