package logstore

import (
	"bytes"
	"fmt"
	"os"
	"sync"
)

// batch is how many lines are handed over at a time, at most.
const batch = 256

// writer cuts lines out of one stream of one replica. It keeps up to 64 KiB of
// an unfinished line in memory, and the rest in a file.
type writer struct {
	log      *functionLog
	instance string

	mu      sync.Mutex
	partial []byte
	long    *longLine // set while the unfinished line is longer than maxInline
	closed  bool
}

func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, os.ErrClosed
	}
	n := len(p)
	var lines [][]byte
	for len(p) > 0 {
		line, rest, ended := bytes.Cut(p, []byte("\n"))
		p = rest
		whole := ended && w.partial == nil && w.long == nil && len(line) <= maxInline
		if !whole {
			w.extend(line)
			if !ended {
				break
			}
			if w.long != nil {
				w.log.append(w.instance, lines)
				lines = lines[:0]
				w.endLong()
				continue
			}
			line, w.partial = w.partial, nil
		}
		if lines = append(lines, line); len(lines) == batch {
			w.log.append(w.instance, lines)
			lines = lines[:0]
		}
	}
	w.log.append(w.instance, lines)
	return n, nil
}

// extend adds to the unfinished line.
func (w *writer) extend(b []byte) {
	if w.long == nil && len(w.partial)+len(b) <= maxInline {
		w.partial = append(w.partial, b...)
		return
	}
	if w.long == nil {
		w.long = w.log.beginLong()
		w.long.write(w.partial)
		w.partial = nil
	}
	w.long.write(b)
}

func (w *writer) endLong() {
	long := w.long
	w.long = nil
	switch {
	case long.file != nil:
		_ = long.file.Close()
		w.log.adopt(w.instance, long.file.Name(), long.size)
	case long.err != nil:
		w.log.loseOne(w.instance, long.err)
	default:
		w.log.append(w.instance, [][]byte{fmt.Appendf(nil,
			"lofn: a line of %d bytes was not kept: at most %d bytes are kept for a function", long.size, long.limit)})
	}
}

// Close keeps what there is of an unfinished line. Closing twice is fine.
func (w *writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	if w.long != nil {
		w.endLong()
	} else if len(w.partial) > 0 {
		w.log.append(w.instance, [][]byte{w.partial})
	}
	w.partial = nil
	return nil
}

// unfinished ends the names of files of lines that have not ended.
const unfinished = ".part"

// longLine is a line on its way to a file of its own. The file is nil once the
// line cannot be kept: because of err, or else because it is too long.
type longLine struct {
	file  *os.File
	size  int64
	limit int64
	err   error
}

func (l *functionLog) beginLong() *longLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	long := &longLine{limit: l.store.config.MaxBytes - l.share()}
	if l.gone {
		long.err = os.ErrClosed
		return long
	}
	if long.err = l.load(); long.err != nil {
		return long
	}
	if long.err = os.MkdirAll(l.dir, 0o700); long.err != nil {
		return long
	}
	long.file, long.err = os.CreateTemp(l.dir, "*"+unfinished)
	return long
}

func (long *longLine) write(b []byte) {
	long.size += int64(len(b))
	if long.file == nil {
		return
	}
	if long.size > long.limit {
		long.drop()
	} else if _, err := long.file.Write(b); err != nil {
		long.err = err
		long.drop()
	}
}

func (long *longLine) drop() {
	_ = long.file.Close()
	_ = os.Remove(long.file.Name())
	long.file = nil
}
