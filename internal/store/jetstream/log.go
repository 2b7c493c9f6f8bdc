package jetstream

import (
	"fmt"
	"log/slog"
	"sync"
)

// logBridge hands the server's log to slog. What the server calls a notice is
// of interest only to those who debug it.
type logBridge struct {
	log *slog.Logger

	mu        sync.Mutex
	lastFatal string
}

// fatal returns the last message with which the server gave up, if it did.
func (b *logBridge) fatal() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lastFatal
}

func (b *logBridge) Fatalf(format string, v ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastFatal = fmt.Sprintf(format, v...)
}

func (b *logBridge) Errorf(format string, v ...any) {
	b.log.Error("store: " + fmt.Sprintf(format, v...))
}
func (b *logBridge) Warnf(format string, v ...any) { b.log.Warn("store: " + fmt.Sprintf(format, v...)) }
func (b *logBridge) Noticef(format string, v ...any) {
	b.log.Debug("store: " + fmt.Sprintf(format, v...))
}
func (b *logBridge) Debugf(format string, v ...any) {
	b.log.Debug("store: " + fmt.Sprintf(format, v...))
}
func (b *logBridge) Tracef(format string, v ...any) {
	b.log.Debug("store: " + fmt.Sprintf(format, v...))
}
