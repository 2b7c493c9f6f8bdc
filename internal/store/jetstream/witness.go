package jetstream

import (
	"encoding/binary"
	"hash/crc32"
	"log/slog"
	"os"
	"sync"
)

// total is the sum of the revisions of all keys of a bucket, deleted ones
// included. Each write puts a greater revision in the place of a smaller one,
// so it only grows; a record that is lost, or found at an older revision than
// it had, makes it shrink. Of another stream it is the number of a message.
type total uint64

// witness remembers the greatest total of a bucket, in a file of its own. The
// server drops what it finds damaged and goes on with the rest; the witness is
// how the next start notices.
//
// It is written after the record is on disk and is not synced itself: after a
// power failure it may lag behind, which only makes it see less. It never runs
// ahead, so it raises no false alarm.
type witness struct {
	path string
	log  *slog.Logger

	mu   sync.Mutex
	file *os.File
	seen total
}

// witnessMagic begins the file; the total and a checksum follow.
const (
	witnessMagic = "lofn\x00\x00\x00\x01"
	witnessSize  = len(witnessMagic) + 8 + 4
)

// openWitness reads the witness at path, or starts a new one. A witness that
// cannot be read has seen nothing.
func openWitness(path string, log *slog.Logger) (*witness, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	w := &witness{path: path, log: log, file: f}
	buffer := make([]byte, witnessSize)
	if n, _ := f.ReadAt(buffer, 0); n == witnessSize {
		w.seen = parseTotal(buffer)
	}
	return w, nil
}

func (t total) bytes() []byte {
	b := binary.LittleEndian.AppendUint64([]byte(witnessMagic), uint64(t))
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func parseTotal(b []byte) total {
	t := total(binary.LittleEndian.Uint64(b[len(witnessMagic):]))
	if string(t.bytes()) != string(b) {
		return 0
	}
	return t
}

// saw records that the bucket has come to a total, and reports false if it had
// come further before.
func (w *witness) saw(now total) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now < w.seen {
		return false
	}
	w.record(now)
	return true
}

// known is the greatest total that it has seen.
func (w *witness) known() total {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// allows reports whether a stream may begin with that number. The first time
// nothing is known of what was trimmed.
func (w *witness) allows(first total) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == 0 {
		w.record(first)
	}
	return first <= w.seen
}

// wrote records that a key went from one revision to a later one, 0 standing
// for none.
func (w *witness) wrote(from, to uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record(w.seen + total(to-from))
}

// record writes a greater total. The caller holds mu.
func (w *witness) record(now total) {
	if now == w.seen {
		return
	}
	w.seen = now
	if _, err := w.file.WriteAt(now.bytes(), 0); err != nil {
		w.log.Warn("store: the witness of damage was not written", "file", w.path, "error", err)
	}
}

func (w *witness) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.file.Close(); err != nil {
		w.log.Warn("store: the witness of damage was not closed", "file", w.path, "error", err)
	}
}
