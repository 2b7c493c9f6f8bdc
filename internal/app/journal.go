package app

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"sync"

	"lofn"
	"lofn/internal/handover"
	"lofn/internal/logstore"
)

// journal is where the replicas' output goes: to the store of logs, or, once
// another process has that, over the line to it.
type journal struct {
	mu      sync.RWMutex
	store   *logstore.Store // nil while another process has it
	line    *handover.Line  // to that process, nil while there is none
	streams map[*stream]bool
	number  int
}

// output is a piece of what a replica wrote, on its way to another process.
type output struct {
	// Stream numbers what is written by one replica to one of its outputs.
	Stream   int
	Function lofn.Ref
	Instance string
	Data     []byte
	// Ended says that no more will come.
	Ended bool
}

func newJournal() *journal { return &journal{streams: make(map[*stream]bool)} }

// keep has the output kept in the store that config says, if it is not yet.
func (j *journal) keep(config logstore.Config) (err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.store == nil {
		j.store, err = logstore.Open(config)
	}
	if err == nil {
		j.line = nil
	}
	return err
}

// release closes the store, and has handOver tell the other process that it is
// its own now. What is written after that goes over the line.
func (j *journal) release(line *handover.Line, handOver func() error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for s := range j.streams {
		s.closeKept()
	}
	err := j.store.Close()
	j.store, j.line = nil, line
	return errors.Join(err, handOver())
}

// Close closes the store, if it is here.
func (j *journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.store == nil {
		return nil
	}
	return j.store.Close()
}

// Writer implements process.Logs.
func (j *journal) Writer(function lofn.Ref, instance string) io.WriteCloser {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.number++
	s := &stream{journal: j, number: j.number, function: function, instance: instance}
	j.streams[s] = true
	return s
}

// Append implements process.Logs.
func (j *journal) Append(function lofn.Ref, instance, line string) {
	w := j.Writer(function, instance)
	_, _ = io.WriteString(w, strings.ReplaceAll(line, "\n", " ")+"\n")
	_ = w.Close()
}

// Remove deletes a function's log, unless it is another process's by now.
func (j *journal) Remove(function lofn.Ref) error {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.store == nil {
		return nil
	}
	return j.store.Remove(function)
}

// Logs implements lofn.LogStreamer.
func (j *journal) Logs(ctx context.Context, q lofn.LogQuery) iter.Seq2[lofn.LogLine, error] {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.store == nil {
		return func(yield func(lofn.LogLine, error) bool) { yield(lofn.LogLine{}, errUpgrading()) }
	}
	return j.store.Logs(ctx, q)
}

// stream is one output of one replica.
type stream struct {
	journal  *journal
	number   int
	function lofn.Ref
	instance string

	mu   sync.Mutex
	kept io.WriteCloser // nil while nothing was written to the store
}

func (s *stream) Write(p []byte) (int, error) {
	s.journal.mu.RLock()
	defer s.journal.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.journal.store != nil:
		if s.kept == nil {
			s.kept = s.journal.store.Writer(s.function, s.instance)
		}
		return s.kept.Write(p)
	case s.journal.line != nil:
		// If the other process is gone, so is the place to keep it.
		_ = s.journal.line.Send(message{Output: &output{Stream: s.number, Function: s.function, Instance: s.instance, Data: p}})
	}
	return len(p), nil
}

// Close keeps what there is of an unfinished line.
func (s *stream) Close() error {
	s.journal.mu.Lock()
	line := s.journal.line
	delete(s.journal.streams, s)
	s.closeKept()
	s.journal.mu.Unlock()
	if line == nil {
		return nil
	}
	return line.Send(message{Output: &output{Stream: s.number, Function: s.function, Instance: s.instance, Ended: true}})
}

// closeKept ends what goes to the store. Called with the journal's lock held,
// so that nobody writes.
func (s *stream) closeKept() {
	if s.kept != nil {
		_ = s.kept.Close()
		s.kept = nil
	}
}

// adopted are the outputs of another process's replicas, kept as they come over
// the line.
type adopted map[int]io.WriteCloser

func (a adopted) take(j *journal, o *output) {
	w := a[o.Stream]
	if w == nil {
		w = j.Writer(o.Function, o.Instance)
		a[o.Stream] = w
	}
	_, _ = w.Write(o.Data)
	if o.Ended {
		_ = w.Close()
		delete(a, o.Stream)
	}
}

func (a adopted) close() {
	for _, w := range a {
		_ = w.Close()
	}
}
