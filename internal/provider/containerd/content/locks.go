package content

import (
	"context"
	"sync"
)

// locks are mutexes by name, which a context ends the wait for. The zero locks
// are ready for use.
type locks struct {
	mu sync.Mutex
	// held has a channel for each name that is locked, closed when it is not.
	held map[string]chan struct{}
}

// lock returns when nobody else has the name.
func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	for {
		l.mu.Lock()
		other, locked := l.held[name]
		if !locked {
			break
		}
		l.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = make(map[string]chan struct{})
	}
	mine := make(chan struct{})
	l.held[name] = mine
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, name)
		close(mine)
	}, nil
}
