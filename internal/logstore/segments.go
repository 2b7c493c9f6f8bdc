package logstore

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// share is the size at which a segment is full.
func (l *functionLog) share() int64 { return l.store.config.MaxBytes / segmentsPerLog }

func (l *functionLog) full() bool {
	if len(l.segments) == 0 || l.broken {
		return true
	}
	return l.last().size+l.last().aside >= l.share()
}

// makeRoom forgets the oldest segments until the rest, what is about to be
// added aside, and a segment's worth of records fit.
func (l *functionLog) makeRoom(extra int64) {
	total := extra + l.share()
	for _, s := range l.segments {
		total += s.size + s.aside
	}
	if !l.full() {
		total -= l.last().size // counted in the share already
	}
	for len(l.segments) > 0 && total > l.store.config.MaxBytes {
		oldest := l.segments[0]
		if len(l.segments) == 1 {
			l.closeFile()
		}
		l.segments = l.segments[1:]
		l.forget(oldest)
		total -= oldest.size + oldest.aside
	}
}

// forget deletes a segment with its long lines.
func (l *functionLog) forget(s segment) {
	if s.aside > 0 {
		prefix := fmt.Sprintf("%020d-", s.number)
		entries, _ := os.ReadDir(l.dir)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), prefix) {
				l.delete(l.dir + "/" + e.Name())
			}
		}
	}
	l.delete(l.path(s.number))
	l.lastForgotten = s.number
}

func (l *functionLog) delete(path string) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		l.store.config.Log.Warn("an old log cannot be deleted", "function", l.ref.Host(), "error", err)
	}
}

// roll begins a new segment.
func (l *functionLog) roll() error {
	l.closeFile()
	number := l.lastForgotten + 1
	if len(l.segments) > 0 {
		number = l.last().number + 1
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(l.path(number), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(file, magic); err != nil {
		_ = file.Close()
		_ = os.Remove(file.Name())
		return err
	}
	l.setFile(file)
	l.broken = false
	l.segments = append(l.segments, segment{number: number, size: int64(len(magic))})
	return nil
}

// open makes sure that the last segment is open.
func (l *functionLog) open() error {
	if l.file != nil {
		return nil
	}
	file, err := os.OpenFile(l.path(l.last().number), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		// Somebody deleted it; the next line starts another.
		l.broken = true
		return err
	}
	l.setFile(file)
	return nil
}

func (l *functionLog) setFile(file *os.File) {
	l.file = file
	l.store.noteOpen(l)
}

func (l *functionLog) closeFile() {
	if l.file == nil {
		return
	}
	l.store.noteClosed(l)
	_ = l.file.Close()
	l.file = nil
}

// load finds what earlier processes left, once.
func (l *functionLog) load() error {
	if l.loaded {
		return nil
	}
	entries, err := os.ReadDir(l.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var asides []asideFile
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		var s segment
		var a asideFile
		switch {
		case strings.HasSuffix(e.Name(), unfinished):
			l.delete(l.dir + "/" + e.Name())
		case scanName(e.Name(), "%020d.log", &s.number):
			s.size = info.Size()
			l.segments = append(l.segments, s)
		case scanName(e.Name(), "%020d-%020d.line", &a.segment, &a.number):
			a.size = info.Size()
			asides = append(asides, a)
		}
	}
	slices.SortFunc(l.segments, func(a, b segment) int { return cmp.Compare(a.number, b.number) })
	l.inspect()
	l.claim(asides)
	l.loaded = true
	return nil
}

// scanName reads numbers out of a file name of exactly the given form.
func scanName(name, form string, numbers ...any) bool {
	if _, err := fmt.Sscanf(name, form, numbers...); err != nil {
		return false
	}
	values := make([]any, len(numbers))
	for i, n := range numbers {
		values[i] = *n.(*uint64)
	}
	return fmt.Sprintf(form, values...) == name
}

// inspect finds the number of the last line, and cuts off what a process that
// was killed did not come to write whole at the very end: a record, or the
// beginning of a segment, which then stays empty.
func (l *functionLog) inspect() {
	for i := len(l.segments) - 1; i >= 0; i-- {
		s := &l.segments[i]
		end, number, err := scan(l.path(s.number))
		isLast := i == len(l.segments)-1
		switch {
		case err == nil || !isLast:
		case errors.Is(err, io.ErrUnexpectedEOF) && os.Truncate(l.path(s.number), end) == nil:
			s.size = end
			l.broken = end == 0
		default:
			l.broken = true
		}
		if number > 0 {
			l.nextNumber = number + 1
			return
		}
	}
}

// scan reads a segment up to its end or first fault, and returns where that is
// and the number of the last line before it, 0 if there is none. The error is
// io.ErrUnexpectedEOF if the file ends where more must have been meant to come.
func scan(path string) (end int64, number uint64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	from := bufio.NewReaderSize(file, maxInline)
	head, err := from.Peek(len(magic))
	if errors.Is(err, io.EOF) && strings.HasPrefix(magic, string(head)) {
		return 0, 0, io.ErrUnexpectedEOF
	}
	if string(head) != magic {
		return 0, 0, errDamaged
	}
	_, _ = from.Discard(len(magic))
	end = int64(len(magic))
	var buf []byte
	for {
		var r record
		var size int64
		r, size, buf, err = readRecord(from, buf)
		if errors.Is(err, io.EOF) {
			return end, number, nil
		}
		if err != nil {
			return end, number, err
		}
		end += size
		number = r.number
	}
}

type asideFile struct {
	segment, number uint64
	size            int64
}

// claim adds the long lines to their segments, and deletes those whose record
// was never written.
func (l *functionLog) claim(asides []asideFile) {
	for _, a := range asides {
		i := slices.IndexFunc(l.segments, func(s segment) bool { return s.number == a.segment })
		if i < 0 || a.number >= l.nextNumber {
			l.delete(l.asidePath(a.segment, a.number))
			continue
		}
		l.segments[i].aside += a.size
	}
}
