package watchdog

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// lineLog is where the watchdog writes lines of its own.
type lineLog struct {
	mu   sync.Mutex
	to   io.WriteCloser
	line []byte
}

// Printf writes one line, whole.
func (l *lineLog) Printf(format string, args ...any) {
	l.write(func(b []byte) []byte { return fmt.Appendf(b, format, args...) })
}

// write writes one line, to which a function appends its text.
func (l *lineLog) write(text func([]byte) []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = text(date(l.line[:0], true))
	for i, c := range l.line {
		if c == '\n' {
			l.line[i] = ' '
		}
	}
	l.line = append(l.line, '\n')
	_, _ = l.to.Write(l.line)
}

// Close closes what is underneath.
func (l *lineLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.to.Close()
	l.to = discard{}
	return err
}

func date(b []byte, wanted bool) []byte {
	if !wanted {
		return b
	}
	return time.Now().AppendFormat(b, "2006/01/02 15:04:05 ")
}

// childLog opens the log for one process.
func (w *Watchdog) childLog() io.WriteCloser {
	to := w.options.Stderr()
	name := ""
	if w.config.PrefixLogs || w.config.Mode == Classic {
		name = "stderr: "
	}
	if name == "" && !w.config.PrefixLogs {
		return to
	}
	return &prefixer{WriteCloser: to, dated: w.config.PrefixLogs, name: name, atStart: true}
}

// Prefix returns a log that starts each line with date, time and a name. The
// lines may have any length; the log is for one writer at a time.
func Prefix(to io.WriteCloser, name string) io.WriteCloser {
	return &prefixer{WriteCloser: to, dated: true, name: name + ": ", atStart: true}
}

// prefixer writes a prefix at the start of each line. It keeps nothing back,
// so that lines may have any length.
type prefixer struct {
	io.WriteCloser
	dated   bool
	name    string
	atStart bool
}

func (p *prefixer) Write(b []byte) (int, error) {
	out := make([]byte, 0, len(b)+64)
	for line := range bytes.Lines(b) {
		if p.atStart {
			out = append(date(out, p.dated), p.name...)
		}
		out = append(out, line...)
		p.atStart = line[len(line)-1] == '\n'
	}
	if _, err := p.WriteCloser.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}
