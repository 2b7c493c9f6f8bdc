package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// logBridge hands the server's log to slog. What the server calls a notice is
// of interest only to those who debug it.
type logBridge struct {
	log *slog.Logger
	// fail is called when the server has given up writing, which it tells
	// nobody else.
	fail context.CancelCauseFunc

	mu        sync.Mutex
	lastFatal string
}

// fatal returns the last message with which the server gave up, if it did.
func (b *logBridge) fatal() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lastFatal
}

// Fatalf receives why the server gave up.
func (b *logBridge) Fatalf(format string, v ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastFatal = fmt.Sprintf(format, v...)
}

// Warnf receives among others what the server has to say about recovering
// after a crash, which is no reason for alarm: a loss is found by the witness.
func (b *logBridge) Warnf(format string, v ...any) {
	level := slog.LevelWarn
	if strings.HasPrefix(fmt.Sprintf(format, v...), "Filestore [") {
		level = slog.LevelInfo
	}
	b.say(level, format, v)
}

// Errorf receives faults, and that the server gave up writing.
func (b *logBridge) Errorf(format string, v ...any) {
	if text := fmt.Sprintf(format, v...); strings.Contains(strings.ToLower(text), "critical write error") {
		b.fail(errors.New(text))
	}
	b.say(slog.LevelError, format, v)
}

// Noticef, Debugf and Tracef complete the server's Logger.
func (b *logBridge) Noticef(format string, v ...any) { b.say(slog.LevelDebug, format, v) }
func (b *logBridge) Debugf(format string, v ...any)  { b.say(slog.LevelDebug, format, v) }
func (b *logBridge) Tracef(format string, v ...any)  { b.say(slog.LevelDebug, format, v) }

func (b *logBridge) say(level slog.Level, format string, v []any) {
	b.log.Log(context.Background(), level, "store: "+fmt.Sprintf(format, v...))
}
