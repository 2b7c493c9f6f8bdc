package logstore

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"lofn"
)

// DefaultMaxBytes is what is kept for each function if Config says nothing.
const DefaultMaxBytes = 32 << 20

// leastMaxBytes keeps segments larger than a record.
const leastMaxBytes = 1 << 20

// segmentsPerLog is the number of files among which a function's share of the
// disk is divided: when it is used up, one such part is forgotten at a time.
const segmentsPerLog = 8

// maxOpenFiles bounds the segments that are held open for appending.
const maxOpenFiles = 64

// Config says where and how much to keep.
type Config struct {
	// Dir belongs to the store alone; it is made if it is missing.
	Dir string
	// MaxBytes bounds the disk space of one function, 0 meaning
	// DefaultMaxBytes and 1 MiB being the least. Each writer that is in the
	// middle of a line longer than 64 KiB may need as much again meanwhile.
	MaxBytes int64
	// Log is told what concerns the platform; nil drops it.
	Log *slog.Logger
}

// Store keeps the logs of all functions. It is safe for concurrent use, by one
// process at a time.
type Store struct {
	config Config
	now    func() time.Time

	mu     sync.Mutex
	logs   map[lofn.Ref]*functionLog
	closed bool

	openMu sync.Mutex
	opened []*functionLog // whose file is open, in the order of opening

	buffers sync.Pool // of *[]byte, to encode records in
}

// Open returns the store in config.Dir, with what earlier ones kept there.
func Open(config Config) (*Store, error) {
	if config.MaxBytes == 0 {
		config.MaxBytes = DefaultMaxBytes
	}
	config.MaxBytes = max(config.MaxBytes, leastMaxBytes)
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{config: config, now: time.Now, logs: make(map[lofn.Ref]*functionLog)}
	s.buffers.New = func() any { b := make([]byte, 0, 2*maxInline); return &b }
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, lofn.Errorf(lofn.Internal, "logs: the folder cannot be used: %w", err)
	}
	return s, s.clear()
}

const removedPrefix = ".removed-"

// clear finishes what an earlier process was removing.
func (s *Store) clear() error {
	entries, err := os.ReadDir(s.config.Dir)
	if err != nil {
		return lofn.Errorf(lofn.Internal, "logs: the folder cannot be read: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), removedPrefix) {
			if err := os.RemoveAll(filepath.Join(s.config.Dir, e.Name())); err != nil {
				return lofn.Errorf(lofn.Internal, "logs: what was removed cannot be deleted: %w", err)
			}
		}
	}
	return nil
}

// log returns the function's log, which is empty if nobody wrote to it yet.
// After Close, and for names that no function can have, it is one that is gone
// already.
func (s *Store) log(ref lofn.Ref) *functionLog {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.logs[ref]; ok {
		return l
	}
	l := &functionLog{store: s, ref: ref, dir: filepath.Join(s.config.Dir, ref.Namespace, ref.Name), nextNumber: 1}
	if err := ref.Validate(); err != nil {
		s.config.Log.Error("no log can be kept under this name", "function", ref.Host(), "error", err)
		l.gone = true
		return l
	}
	if s.closed {
		l.gone = true
		return l
	}
	s.logs[ref] = l
	return l
}

// Writer returns where a replica's standard output or standard error goes: each
// stream needs one of its own. Its Write cuts lines out of what it is given
// in pieces of any size, and fails only after Close. What cannot be kept is
// counted and told about in the log. Close keeps an unfinished last line. Once
// the function is removed, or the store closed, lines are dropped.
func (s *Store) Writer(ref lofn.Ref, instance string) io.WriteCloser {
	return &writer{log: s.log(ref), instance: clip(instance)}
}

// Append keeps a line of the platform's own about a replica.
func (s *Store) Append(ref lofn.Ref, instance, line string) {
	w := s.Writer(ref, instance)
	_, _ = io.WriteString(w, strings.ReplaceAll(line, "\n", " ")+"\n")
	_ = w.Close()
}

// clip bounds an instance's name to what a record has room for.
func clip(instance string) string { return instance[:min(len(instance), maxInstance)] }

// Remove deletes a function's log and ends the queries that follow it. A log
// that does not exist is not an error.
func (s *Store) Remove(ref lofn.Ref) error {
	if err := ref.Validate(); err != nil {
		return err
	}
	trash, err := s.detach(ref)
	if err == nil && trash != "" {
		err = os.RemoveAll(trash)
	}
	if err != nil {
		return lofn.Errorf(lofn.Internal, "logs: %s cannot be deleted: %w", ref.Host(), err)
	}
	return nil
}

// detach moves the function's folder out of the way, so that a new function of
// the same name starts afresh at once.
func (s *Store) detach(ref lofn.Ref) (trash string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.logs[ref]; ok {
		l.end(true)
		delete(s.logs, ref)
	}
	dir := filepath.Join(s.config.Dir, ref.Namespace, ref.Name)
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	trash, err = os.MkdirTemp(s.config.Dir, removedPrefix)
	if err != nil {
		return "", err
	}
	return trash, os.Rename(dir, filepath.Join(trash, ref.Name))
}

// Close ends all queries that follow, and closes the files. Lines that are
// written later are dropped.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for ref, l := range s.logs {
		l.end(false)
		delete(s.logs, ref)
	}
	return nil
}

// noteOpen remembers that l opened its file, and closes that of another
// function if there are too many. The caller holds l.mu.
func (s *Store) noteOpen(l *functionLog) {
	s.openMu.Lock()
	defer s.openMu.Unlock()
	s.opened = append(s.opened, l)
	for i := 0; i < len(s.opened) && len(s.opened) > maxOpenFiles; i++ {
		// One that is locked is at work, or is l.
		if other := s.opened[i]; other.mu.TryLock() {
			_ = other.file.Close()
			other.file = nil
			other.mu.Unlock()
			s.opened = slices.Delete(s.opened, i, i+1)
			i--
		}
	}
}

func (s *Store) noteClosed(l *functionLog) {
	s.openMu.Lock()
	defer s.openMu.Unlock()
	s.opened = slices.DeleteFunc(s.opened, func(o *functionLog) bool { return o == l })
}
