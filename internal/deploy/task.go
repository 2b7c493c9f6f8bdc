package deploy

import (
	"context"

	"lofn"
)

// task is what the provider has yet to be told about one function. Only the
// latest wish counts, except that a removal is never skipped: what is deployed
// after it is another function that happens to have the same name.
type task struct {
	remove bool
	again  bool
}

// schedule has the function's wish told to the pool now, and to the provider
// as soon as the one before it has been. Called with the lock held.
func (r *Reconciler) schedule(ref lofn.Ref, remove bool) {
	if fn, ok := r.wanted[ref]; ok {
		r.Pool.Declare(fn)
	} else {
		r.Pool.Forget(ref)
	}
	if t, running := r.tasks[ref]; running {
		t.again = true
		t.remove = t.remove || remove
		return
	}
	r.tasks[ref] = &task{remove: remove, again: true}
	r.workers.Go(func() { r.work(ref) })
}

// work tells the provider one wish after the other until there is none.
func (r *Reconciler) work(ref lofn.Ref) {
	for {
		fn, remove, ok := r.nextWish(ref)
		if !ok {
			return
		}
		r.tell(ref, fn, remove)
		if fn == nil {
			r.reportRemoved(ref)
		}
	}
}

// nextWish returns the function's latest wish, nil for none, and whether the
// replicas of the one before it must go first. It ends the task if there is
// nothing to tell.
func (r *Reconciler) nextWish(ref lofn.Ref) (fn *lofn.Function, remove, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tasks[ref]
	if !t.again {
		delete(r.tasks, ref)
		return nil, false, false
	}
	if wanted, exists := r.wanted[ref]; exists {
		fn = &wanted
	}
	remove = t.remove || fn == nil
	t.again, t.remove = false, false
	return fn, remove, true
}

// tell repeats the wish until the provider has taken it, there is a newer one,
// or the reconciler ends.
func (r *Reconciler) tell(ref lofn.Ref, fn *lofn.Function, remove bool) {
	for pause := minPause; ; pause = next(pause) {
		err := r.apply(r.life, ref, fn, remove)
		if err == nil {
			r.knows(ref)
		}
		if err == nil || r.life.Err() != nil {
			return
		}
		r.Log.Error("the provider did not take a change, trying again", "function", ref, "error", err, "in", pause)
		wait(r.life, pause)
		if r.superseded(ref, remove) {
			return
		}
	}
}

func (r *Reconciler) apply(ctx context.Context, ref lofn.Ref, fn *lofn.Function, remove bool) error {
	if remove {
		if err := r.Provider.Remove(ctx, ref); err != nil {
			return err
		}
	}
	if fn == nil {
		return nil
	}
	return r.Provider.Ensure(ctx, *fn)
}

// superseded reports whether there is a newer wish, to which it hands on a
// removal that did not succeed yet.
func (r *Reconciler) superseded(ref lofn.Ref, remove bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tasks[ref]
	t.remove = t.remove || (t.again && remove)
	return t.again
}

// Told is closed when the provider has been told of every function that the
// store held at the start: what it has of others is nobody's.
func (r *Reconciler) Told() <-chan struct{} { return r.told }

// knows notes that the provider was told of a function.
func (r *Reconciler) knows(ref lofn.Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.untold, ref)
	if len(r.untold) > 0 || !r.isSynced() {
		return
	}
	select {
	case <-r.told:
	default:
		close(r.told)
	}
}
