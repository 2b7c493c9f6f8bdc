package fleet

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"lofn"
)

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 30 * time.Second
	// A replica that was ready for so many times the pause that it would get has
	// recovered: its failure counts as the first. It serves most of the time, and
	// whoever calls it is better off with a short pause.
	recovered = 3
	// A start that takes longer gives its turn to the next, so that functions
	// that never listen do not keep others from starting.
	turn = 2 * time.Second
)

var (
	errEnded = errors.New("ended by itself")
	// errLeft is the end of leading a replica that goes on.
	errLeft = errors.New("left as it is")
)

// run leads r through its life, until ctx ends.
func (f *Fleet) run(ctx context.Context, r *replica) {
	failures := 0
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		lived, err := f.serve(ctx, r)
		if errors.Is(err, errLeft) {
			return
		}
		if err == nil || ctx.Err() != nil {
			break
		}
		if lived >= recovered*pause {
			pause, failures = firstPause, 0
		}
		failures++
		f.Log.Warn("replica failed", "function", r.fn.Ref, "instance", r.view.ID, "reason", err, "retry_in", pause)
		f.change(r, func(v *lofn.Replica) {
			v.State, v.Network, v.Address, v.Reason, v.Failures = lofn.Failed, "", "", line(err), failures
			r.failure = v.Reason
		})
		f.Failed(r.fn.Ref, r.view.ID, line(err))
		if !r.wait(ctx, pause) {
			f.Forgo(r.view.ID)
			break
		}
		f.change(r, func(v *lofn.Replica) {
			v.State, v.Restarts, v.Startup = lofn.Starting, v.Restarts+1, lofn.Startup{}
		})
	}
	f.change(r, func(v *lofn.Replica) { v.State, v.Network, v.Address, v.Reason = lofn.Gone, "", "", "" })
}

// serve starts r once and stays with it to its end. A nil error means that it
// ended because ctx did; lived is how long it was ready.
func (f *Fleet) serve(ctx context.Context, r *replica) (lived time.Duration, err error) {
	instance := r.survivor
	r.survivor = nil
	if instance == nil {
		if instance, err = f.launch(ctx, r); err != nil {
			return 0, err
		}
	}
	since := time.Now()
	select {
	case <-instance.Done():
		return time.Since(since), cmp.Or(instance.Err(), errEnded)
	case <-ctx.Done():
		f.retire(r, instance)
		return time.Since(since), nil
	case <-f.left:
		return time.Since(since), errLeft
	}
}

// launch starts an instance for r, and tells that it is ready.
func (f *Fleet) launch(ctx context.Context, r *replica) (Instance, error) {
	instance, waited, err := f.start(ctx, r)
	if err != nil {
		return nil, err
	}
	f.Started(f.change(r, func(*lofn.Replica) { r.serves(instance, waited) }))
	return instance, nil
}

// start calls the Starter when it is r's turn.
func (f *Fleet) start(ctx context.Context, r *replica) (instance Instance, waited time.Duration, err error) {
	began := time.Now()
	if err := f.awaitTurn(ctx); err != nil {
		f.Forgo(r.view.ID)
		return nil, 0, err
	}
	waited = time.Since(began)
	var once sync.Once
	release := func() { once.Do(func() { <-f.starts }) }
	defer release()
	defer time.AfterFunc(turn, release).Stop()
	instance, err = f.Starter.Start(ctx, r.fn, r.view.ID, func(text string) { f.report(r, text) })
	return instance, waited, err
}

// awaitTurn returns nil when one more may start: then <-f.starts has to follow.
func (f *Fleet) awaitTurn(ctx context.Context) error {
	for {
		f.mu.Lock()
		going := f.going
		f.mu.Unlock()
		select {
		case <-going:
		case <-f.left:
			return errLeft
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case f.starts <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		f.mu.Lock()
		paused := f.paused()
		f.mu.Unlock()
		if !paused {
			return nil
		}
		<-f.starts
	}
}

// retire lets the instance finish its calls and ends it.
func (f *Fleet) retire(r *replica, instance Instance) {
	view := f.change(r, func(v *lofn.Replica) { v.State = lofn.Draining })
	ctx, cancel := context.WithCancel(f.forced)
	defer cancel()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		if err := f.Drain(ctx, view); err != nil && ctx.Err() == nil {
			f.Log.Warn("replica stops with calls on it", "function", r.fn.Ref, "instance", view.ID, "reason", err)
		}
	}()
	select {
	case <-drained:
	case <-instance.Done():
		cancel()
		<-drained
	case <-f.forced.Done():
	}
	instance.Stop(f.forced)
}

// wait returns after the pause, or sooner on a retry; false if ctx ended.
func (r *replica) wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.retry:
	case <-ctx.Done():
		return false
	}
	return true
}

// line makes a reason fit to be shown in one line.
func line(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
