package app

import (
	"context"
	"iter"
	"sync"

	"lofn"
)

// detachable is a store that can be taken from under those who use it, and be
// given back: while another process has the data folder, there is none. What
// is asked of it then fails, and watches wait.
type detachable[T any] struct {
	mu       sync.Mutex
	store    lofn.Store[T]   // nil while detached
	attached chan struct{}   // closed once there is a store
	life     context.Context // ends when the store is taken
	end      context.CancelFunc
}

func newDetachable[T any]() *detachable[T] {
	return &detachable[T]{attached: make(chan struct{})}
}

func (d *detachable[T]) attach(store lofn.Store[T]) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.store = store
	d.life, d.end = context.WithCancel(context.Background())
	close(d.attached)
}

func (d *detachable[T]) detach() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.store, d.attached = nil, make(chan struct{})
	d.end()
}

// errUpgrading answers what cannot be done while another process has the data.
func errUpgrading() error {
	return lofn.Errorf(lofn.Unavailable, "lofn is being upgraded: try again in a moment")
}

func (d *detachable[T]) current() (lofn.Store[T], error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.store == nil {
		return nil, errUpgrading()
	}
	return d.store, nil
}

// Get implements lofn.Store.
func (d *detachable[T]) Get(ctx context.Context, ref lofn.Ref) (lofn.Record[T], error) {
	store, err := d.current()
	if err != nil {
		return lofn.Record[T]{}, err
	}
	return store.Get(ctx, ref)
}

// List implements lofn.Store.
func (d *detachable[T]) List(ctx context.Context, namespace string) ([]lofn.Record[T], error) {
	store, err := d.current()
	if err != nil {
		return nil, err
	}
	return store.List(ctx, namespace)
}

// Put implements lofn.Store.
func (d *detachable[T]) Put(ctx context.Context, ref lofn.Ref, value T, expected lofn.Revision) (lofn.Revision, error) {
	store, err := d.current()
	if err != nil {
		return 0, err
	}
	return store.Put(ctx, ref, value, expected)
}

// Delete implements lofn.Store.
func (d *detachable[T]) Delete(ctx context.Context, ref lofn.Ref, expected lofn.Revision) error {
	store, err := d.current()
	if err != nil {
		return err
	}
	return store.Delete(ctx, ref, expected)
}

// Watch implements lofn.Store. It ends without an error when there is a store
// again after the one that it watched: whoever watches begins anew.
func (d *detachable[T]) Watch(ctx context.Context) iter.Seq2[lofn.Change[T], error] {
	return func(yield func(lofn.Change[T], error) bool) {
		d.mu.Lock()
		store, life := d.store, d.life
		d.mu.Unlock()
		if store != nil && !watchUntil(ctx, life, store, yield) {
			return
		}
		d.mu.Lock()
		attached := d.attached
		d.mu.Unlock()
		select {
		case <-attached:
		case <-ctx.Done():
		}
	}
}

// watchUntil watches the store and reports whether it was taken meanwhile.
func watchUntil[T any](ctx, life context.Context, store lofn.Store[T], yield func(lofn.Change[T], error) bool) (taken bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	for change, err := range store.Watch(ctx) {
		if life.Err() != nil {
			return true
		}
		if !yield(change, err) {
			return false
		}
	}
	return life.Err() != nil
}
