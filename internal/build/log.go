package build

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"time"
)

// logger writes whole lines to a Writer, if there is one.
type logger struct {
	mu sync.Mutex
	to io.Writer
}

func (l *logger) shown() bool { return l.to != nil }

// line writes a line. A log that cannot be written to must not fail a build.
func (l *logger) line(text string) {
	if l.to == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = io.WriteString(l.to, text+"\n")
}

// transient writes what the next line replaces: it ends in "\r".
func (l *logger) transient(text string) {
	if l.to == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = io.WriteString(l.to, text+"\r")
}

// progress says how far something has come that takes long.
type progress struct {
	log         *logger
	what        string
	done, total int64
	said        time.Time
}

// between is how often progress is said.
const between = 100 * time.Millisecond

// add counts bytes that have come.
func (p *progress) add(n int64) {
	p.done += n
	if now := time.Now(); now.Sub(p.said) >= between {
		p.said = now
		p.log.transient(p.what + ": " + Size(p.done) + " of " + Size(p.total))
	}
}

// lineWriter passes a tool's output on by the line, and remembers its end.
type lineWriter struct {
	log     *logger
	partial []byte
	last    []string
}

// maxPartial bounds a line that does not end; tailLines is how many lines are
// remembered for an error.
const (
	maxPartial = 64 << 10
	tailLines  = 30
)

func (w *lineWriter) Write(p []byte) (int, error) {
	w.partial = append(w.partial, p...)
	for {
		i := bytes.IndexByte(w.partial, '\n')
		if i < 0 && len(w.partial) < maxPartial {
			return len(p), nil
		}
		if i < 0 {
			i = len(w.partial)
		}
		w.emit(string(w.partial[:i]))
		w.partial = w.partial[min(i+1, len(w.partial)):]
	}
}

func (w *lineWriter) flush() {
	if len(w.partial) > 0 {
		w.emit(string(w.partial))
		w.partial = nil
	}
}

func (w *lineWriter) emit(line string) {
	line = strings.TrimRight(line, "\r")
	w.log.line("  " + line)
	w.last = append(w.last, line)
	if len(w.last) > tailLines {
		w.last = w.last[1:]
	}
}

func (w *lineWriter) tail() string { return strings.Join(w.last, "\n") }
