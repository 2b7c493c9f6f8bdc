package registry

import (
	"context"

	"lofn"
)

// flight is one unpacking that several callers wait for.
type flight struct {
	// waiting counts them; Images.mu guards it.
	waiting int
	cancel  context.CancelFunc
	// done is closed when image and err are set.
	done  chan struct{}
	image lofn.Image
	err   error
}

// join waits for the flight with the key, starting it with work if there is
// none. The work's context ends when the last caller has left.
func (im *Images) join(ctx context.Context, key string, work func(context.Context) (lofn.Image, error)) (lofn.Image, error) {
	f := im.board(ctx, key, work)
	select {
	case <-f.done:
		return f.image, f.err
	case <-ctx.Done():
		im.leave(key, f)
		return lofn.Image{}, lofn.Errorf(lofn.DeadlineExceeded, "image: %s was not unpacked in time: %w", key, ctx.Err())
	}
}

func (im *Images) board(ctx context.Context, key string, work func(context.Context) (lofn.Image, error)) *flight {
	im.mu.Lock()
	defer im.mu.Unlock()
	if f := im.flights[key]; f != nil {
		f.waiting++
		return f
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{waiting: 1, cancel: cancel, done: make(chan struct{})}
	im.flights[key] = f
	go func() {
		defer cancel()
		f.image, f.err = work(ctx)
		im.land(key, f)
		close(f.done)
	}()
	return f
}

func (im *Images) leave(key string, f *flight) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		f.cancel()
		// Who comes next must not board a flight that was called off.
		if im.flights[key] == f {
			delete(im.flights, key)
		}
	}
}

func (im *Images) land(key string, f *flight) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.flights[key] == f {
		delete(im.flights, key)
	}
}
