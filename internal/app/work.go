package app

import (
	"context"
	"sync"
)

// work is something that runs in the background and can be interrupted.
type work struct {
	run func(context.Context)

	mu     sync.Mutex
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (w *work) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.done.Go(func() { w.run(ctx) })
}

// stop returns when nothing runs any more.
func (w *work) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cancel != nil {
		w.cancel()
	}
	w.done.Wait()
}

// streams are the answers that would never end by themselves, such as followed
// logs.
type streams struct {
	mu     sync.Mutex
	life   context.Context
	cancel context.CancelFunc
}

func newStreams() *streams {
	s := new(streams)
	s.life, s.cancel = context.WithCancel(context.Background())
	return s
}

// now returns a context that ends with those that begin now.
func (s *streams) now() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life
}

// stop ends them all, and those that begin later: a client that follows a log
// comes back at once.
func (s *streams) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel()
}

// end ends those that there are.
func (s *streams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel()
	s.life, s.cancel = context.WithCancel(context.Background())
}
