package logstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// reader goes through a log, record by record. It holds a file open only while
// there is something to read.
type reader struct {
	log *functionLog
	place
	// limit is where the readable part of the segment ended when last asked.
	limit int64
	file  *os.File
	from  *bufio.Reader
	buf   []byte
}

// place is how far a reader has come.
type place struct {
	at position
	// expected is the number of the next line, 0 if any will do.
	expected uint64
}

// entry is what is found at a position: a record, or else a remark about records
// that should be there, with the time of the last of them as far as it is known.
type entry struct {
	at     position
	record record
	remark string
}

// platform is the instance of remarks.
const platform = "lofn"

func (r *reader) remark(at time.Time, format string, args ...any) entry {
	return entry{at: r.at, record: record{time: at.UnixNano(), instance: platform}, remark: fmt.Sprintf(format, args...)}
}

// next returns what is next before the given end, and io.EOF when there is
// nothing yet, or nothing more since the log was removed.
func (r *reader) next(end position) (entry, error) {
	for {
		if r.at.offset >= r.limit {
			if !r.advance() {
				return entry{}, io.EOF
			}
			continue
		}
		if !r.at.before(end) {
			return entry{}, io.EOF
		}
		e, ok, err := r.read()
		if ok || err != nil {
			return e, err
		}
	}
}

// advance learns how far the segment can be read now, or goes to the next. It
// returns false at the end of the log.
func (r *reader) advance() bool {
	at, limit := r.log.locate(r.at)
	if at == r.at && limit <= at.offset {
		return false
	}
	if at.segment != r.at.segment {
		r.close()
	}
	r.at, r.limit = at, limit
	if r.file != nil {
		r.seek()
	}
	return true
}

// locate returns the place to read on from p, and the end of what is readable
// in its segment. It is p itself unless that segment ends there or is gone.
func (l *functionLog) locate(p position) (position, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		if s.number == p.segment && p.offset < s.size {
			return p, s.size
		}
		if s.number > p.segment {
			return position{s.number, 0}, s.size
		}
	}
	return p, p.offset
}

// read returns the record at r.at, which is before r.limit. It returns false if
// there was only the beginning of a segment.
func (r *reader) read() (entry, bool, error) {
	if r.file == nil {
		err := r.openFile()
		if errors.Is(err, os.ErrNotExist) {
			return r.vanished()
		}
		if err != nil {
			return entry{}, false, err
		}
	}
	if r.at.offset == 0 {
		return r.readMagic()
	}
	rec, size, buf, err := readRecord(r.from, r.buf)
	r.buf = buf
	switch {
	case errors.Is(err, errDamaged), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return r.damaged()
	case err != nil:
		return entry{}, false, err
	}
	if r.expected != 0 && rec.number > r.expected {
		// The record is read again after the remark.
		missed := rec.number - r.expected
		r.expected = 0
		r.seek()
		return r.remark(time.Unix(0, rec.time), "lofn: %d lines are missing here: newer ones took their place", missed), true, nil
	}
	e := entry{at: r.at, record: rec}
	r.at.offset += size
	r.expected = rec.number + 1
	return e, true, nil
}

func (r *reader) openFile() error {
	file, err := r.log.openToRead(r.log.path(r.at.segment))
	if err != nil {
		return err
	}
	r.file = file
	r.seek()
	return nil
}

// openToRead opens a file of the log. The error is io.EOF once the log is
// removed: then the path may be that of the next log of the same name, whose
// bytes are not those that the reader knows of. A log is marked as removed
// before its paths are free, so one that is not marked after the opening was
// not when the file was opened.
func (l *functionLog) openToRead(path string) (*os.File, error) {
	file, err := os.Open(path)
	l.mu.Lock()
	removed := l.removed
	l.mu.Unlock()
	if !removed {
		return file, err
	}
	if err == nil {
		_ = file.Close()
	}
	return nil, io.EOF
}

// seek goes to r.at in the open file, and lets nothing be read after r.limit,
// where a record may be in the middle of being written.
func (r *reader) seek() {
	section := io.NewSectionReader(r.file, r.at.offset, r.limit-r.at.offset)
	if r.from == nil {
		r.from = bufio.NewReaderSize(section, 32<<10)
	}
	r.from.Reset(section)
}

func (r *reader) readMagic() (entry, bool, error) {
	head := make([]byte, len(magic))
	_, err := io.ReadFull(r.from, head)
	if err == nil && string(head) == magic {
		r.at.offset = int64(len(magic))
		return entry{}, false, nil
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return entry{}, false, err
	}
	return r.damaged()
}

// damaged goes to r.limit in a segment that cannot be read further. Whatever is
// before the limit was whole once, or was left like this by an earlier process:
// it will not become better.
func (r *reader) damaged() (entry, bool, error) {
	info, err := r.file.Stat()
	if err != nil {
		return entry{}, false, err
	}
	e := r.remark(info.ModTime(), "lofn: %d bytes of the log are damaged and were left out", r.limit-r.at.offset)
	r.skip()
	return e, true, nil
}

// vanished goes on after a segment whose file is gone: the log has forgotten
// it since, or somebody deleted it.
func (r *reader) vanished() (entry, bool, error) {
	if r.log.forgot(r.at.segment) {
		r.limit = r.at.offset
		return entry{}, false, nil
	}
	e := r.remark(r.log.store.now(), "lofn: a file of the log is missing")
	r.skip()
	return e, true, nil
}

func (l *functionLog) forgot(segment uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return segment <= l.lastForgotten
}

func (r *reader) skip() {
	r.at.offset = r.limit
	r.expected = 0
}

// line returns the text of an entry, or io.EOF if the log was removed before it
// could be read.
func (r *reader) line(e entry) (string, error) {
	if e.remark != "" {
		return e.remark, nil
	}
	if e.record.kind == inline {
		return string(e.record.text), nil
	}
	size := e.record.length()
	file, err := r.log.openToRead(r.log.asidePath(e.at.segment, e.record.number))
	if err == nil {
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.Size() == size {
			var text strings.Builder
			text.Grow(int(size))
			_, err := io.CopyN(&text, file, size)
			return text.String(), err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return fmt.Sprintf("lofn: a line of %d bytes is missing here: newer ones took its place", size), nil
}

func (r *reader) close() {
	if r.file != nil {
		_ = r.file.Close()
		r.file = nil
	}
}

// wait returns true when there may be something to read, and false when there
// never will be or ctx ended.
func (r *reader) wait(ctx context.Context) bool {
	r.close()
	changed := r.log.subscribe(r.at)
	if changed == nil {
		return false
	}
	select {
	case <-changed:
		return true
	case <-ctx.Done():
		return false
	}
}

// subscribe returns a channel that is closed when there is something after p,
// nil when the log has ended.
func (l *functionLog) subscribe(p position) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return nil
	}
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	if n := len(l.segments); n > 0 && p.before(position{l.segments[n-1].number, l.segments[n-1].size}) {
		ready := make(chan struct{})
		close(ready)
		return ready
	}
	return l.changed
}
