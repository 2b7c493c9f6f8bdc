package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"lofn"
)

// functionLog is the log of one function.
type functionLog struct {
	store *Store
	ref   lofn.Ref
	dir   string

	mu            sync.Mutex
	loaded        bool // the fields below say what is on disk
	segments      []segment
	nextNumber    uint64
	lastForgotten uint64   // number of the newest segment deleted
	broken        bool     // the last segment must not be appended to
	file          *os.File // the last segment, nil when not open
	gone          bool     // removed, or the store was closed
	removed       bool     // the paths may be another log's
	changed       chan struct{}
	lost          loss
}

// segment is a file of records with the files of its long lines.
type segment struct {
	number uint64
	size   int64 // of the whole records: readers go no further
	aside  int64 // of the long lines
}

// loss counts lines that could not be kept since the log last said so.
type loss struct {
	lines    int
	why      error
	instance string
}

// position is a place between two records.
type position struct {
	segment uint64
	offset  int64
}

func (p position) before(q position) bool {
	return p.segment < q.segment || p.segment == q.segment && p.offset < q.offset
}

// last returns the segment that is appended to. There is one.
func (l *functionLog) last() *segment { return &l.segments[len(l.segments)-1] }

func (l *functionLog) path(segment uint64) string {
	return filepath.Join(l.dir, fmt.Sprintf("%020d.log", segment))
}

func (l *functionLog) asidePath(segment, number uint64) string {
	return filepath.Join(l.dir, fmt.Sprintf("%020d-%020d.line", segment, number))
}

// append keeps lines, in order.
func (l *functionLog) append(instance string, lines [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(lines) > 0 && !l.gone {
		n := 0
		err := l.ready(0)
		if err == nil {
			n, err = l.write(instance, inline, lines)
		}
		if err != nil {
			l.lose(instance, len(lines), err)
			return
		}
		lines = lines[n:]
	}
}

// adopt keeps a line that is in the file at path, and takes the file.
func (l *functionLog) adopt(instance, path string, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		_ = os.Remove(path)
		return
	}
	err := l.ready(size)
	if err == nil {
		last := l.last()
		target := l.asidePath(last.number, l.nextNumber)
		if err = os.Rename(path, target); err == nil {
			path = target
			_, err = l.write(instance, aside, [][]byte{binary.LittleEndian.AppendUint64(nil, uint64(size))})
		}
		if err == nil {
			last.aside += size
			return
		}
	}
	_ = os.Remove(path)
	l.lose(instance, 1, err)
}

// write appends the first of the lines, as many as make a large enough write,
// and returns their count. The log is ready.
func (l *functionLog) write(instance string, k kind, lines [][]byte) (int, error) {
	buffer := l.store.buffers.Get().(*[]byte)
	defer l.store.buffers.Put(buffer)
	b, number, now := (*buffer)[:0], l.nextNumber, l.store.now().UnixNano()
	n := 0
	for n < len(lines) && (n == 0 || len(b)+len(lines[n]) < maxInline) {
		b = appendRecord(b, record{number: number, time: now, kind: k, instance: instance, text: lines[n]})
		number++
		n++
	}
	*buffer = b
	if err := l.commit(b); err != nil {
		return 0, err
	}
	l.nextNumber = number
	l.wake()
	return n, nil
}

// commit appends whole records to the last segment, or nothing.
func (l *functionLog) commit(b []byte) error {
	last := l.last()
	if _, err := l.file.Write(b); err != nil {
		if l.file.Truncate(last.size) != nil {
			l.broken = true
		}
		return err
	}
	last.size += int64(len(b))
	return nil
}

// ready makes the last segment one that takes more, finds room for an extra
// number of bytes aside, and says first what was lost.
func (l *functionLog) ready(extra int64) error {
	if err := l.load(); err != nil {
		return err
	}
	l.makeRoom(extra)
	if l.full() {
		if err := l.roll(); err != nil {
			return err
		}
	}
	if err := l.open(); err != nil {
		return err
	}
	return l.confess()
}

// confess writes the line about lost lines, if there were any.
func (l *functionLog) confess() error {
	if l.lost.lines == 0 {
		return nil
	}
	text := fmt.Sprintf("lofn: %d lines were not kept: %s", l.lost.lines, reason(l.lost.why))
	if l.lost.lines == 1 {
		text = fmt.Sprintf("lofn: 1 line was not kept: %s", reason(l.lost.why))
	}
	r := record{number: l.nextNumber, time: l.store.now().UnixNano(), instance: l.lost.instance, text: []byte(text)}
	if err := l.commit(appendRecord(nil, r)); err != nil {
		return err
	}
	l.store.config.Log.Info("lines are kept again", "function", l.ref.Host(), "lost", l.lost.lines)
	l.nextNumber++
	l.lost = loss{}
	l.wake()
	return nil
}

// reason is the error without the path, which is none of the function's
// owner's business.
func reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// lose counts lines that could not be kept.
func (l *functionLog) lose(instance string, lines int, err error) {
	if l.gone {
		return
	}
	if l.lost.lines == 0 {
		l.store.config.Log.Warn("lines cannot be kept", "function", l.ref.Host(), "error", err)
	}
	l.lost = loss{lines: l.lost.lines + lines, why: err, instance: instance}
}

// loseOne is lose for callers that do not hold the lock.
func (l *functionLog) loseOne(instance string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose(instance, 1, err)
}

// wake tells the readers that wait.
func (l *functionLog) wake() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// end makes the log drop what comes, and ends those that follow it. Where it
// is removed, those that read it find nothing more.
func (l *functionLog) end(removed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeFile()
	l.gone, l.removed = true, removed
	if removed {
		l.segments = nil
	}
	l.wake()
}
