package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// logger writes to the container's log from a goroutine of its own, so that
// calls do not wait for each line: what was added while it wrote, or within a
// millisecond, goes out in one piece. Nothing is dropped; when the reader of the log is far behind,
// writers wait.
type logger struct {
	to io.Writer

	mu      sync.Mutex
	changed sync.Cond
	waiting []byte
	closed  bool
	done    chan struct{}
}

// mostWaiting is how much of the log waits for its reader.
const mostWaiting = 1 << 20

func newLog(to io.Writer) *logger {
	l := &logger{to: to, done: make(chan struct{})}
	l.changed.L = &l.mu
	go l.drain()
	return l
}

// Write adds bytes that stay together.
func (l *logger) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) > mostWaiting && !l.closed {
		l.changed.Wait()
	}
	if l.closed {
		return len(b), nil
	}
	if len(l.waiting) == 0 {
		l.changed.Broadcast()
	}
	l.waiting = append(l.waiting, b...)
	return len(b), nil
}

// Printf adds a line with date and time.
func (l *logger) Printf(format string, args ...any) {
	line := time.Now().AppendFormat(nil, "2006/01/02 15:04:05 ")
	_, _ = l.Write(append(fmt.Appendf(line, format, args...), '\n'))
}

// gather is how long lines wait for others to be written with.
const gather = time.Millisecond

func (l *logger) drain() {
	defer close(l.done)
	var writing []byte
	for l.await() {
		l.mu.Lock()
		writing, l.waiting = l.waiting, writing[:0]
		l.changed.Broadcast()
		l.mu.Unlock()
		_, _ = l.to.Write(writing)
	}
}

// await returns when there is something to write, or false when there will
// not be any more.
func (l *logger) await() bool {
	l.mu.Lock()
	for len(l.waiting) == 0 && !l.closed {
		l.changed.Wait()
	}
	more, wait := len(l.waiting) > 0, !l.closed && len(l.waiting) < 64<<10
	l.mu.Unlock()
	if more && wait {
		time.Sleep(gather)
	}
	return more
}

// Close writes what waits, and drops what comes later.
func (l *logger) Close() error {
	l.mu.Lock()
	l.closed = true
	l.changed.Broadcast()
	l.mu.Unlock()
	<-l.done
	return nil
}

// lines returns a log for one process, whose lines stay whole among those of
// others. Of a line longer than longestWhole the rest is written as it comes.
func (l *logger) lines() io.WriteCloser { return &lines{to: l} }

// longestWhole is how much of a line is kept until its end is there.
const longestWhole = 256 << 10

type lines struct {
	to   io.Writer
	part []byte
	long bool // the line that part continues has been written from already
}

func (l *lines) Write(b []byte) (int, error) {
	l.part = append(l.part, b...)
	end := bytes.LastIndexByte(l.part, '\n') + 1
	if end == 0 && (l.long || len(l.part) > longestWhole) {
		end, l.long = len(l.part), true
	} else if end > 0 {
		l.long = false
	}
	return len(b), l.flush(end)
}

func (l *lines) flush(end int) error {
	if end == 0 {
		return nil
	}
	_, err := l.to.Write(l.part[:end])
	l.part = append(l.part[:0], l.part[end:]...)
	return err
}

// Close ends a line that has no end.
func (l *lines) Close() error {
	if len(l.part) > 0 || l.long {
		l.part = append(l.part, '\n')
	}
	return l.flush(len(l.part))
}
