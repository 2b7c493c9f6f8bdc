// Package deploy makes what runs match what is wanted: it follows the store of
// functions, tells the provider, and passes on to the pool what the provider
// reports.
package deploy

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"lofn"
)

// pool is what deploy keeps informed.
type pool interface {
	Declare(lofn.Function)
	Forget(lofn.Ref)
	Update(lofn.Replica)
}

// scaler says how many replicas functions shall have.
type scaler interface {
	// Declare makes a function known, or what is new about it, and returns its
	// count. first says that it was in the store before there was a scaler.
	Declare(fn lofn.Function, revision lofn.Revision, first bool) int
	Forget(lofn.Ref)
}

// Config is what a Reconciler works with.
type Config struct {
	Functions lofn.Store[lofn.Function]
	Provider  lofn.Provider
	Pool      pool
	Scaler    scaler
	// Removed, if not nil, is told of every function that was removed and of
	// which nothing runs any more. A function of the same name that comes
	// after it waits until the call returns, as does every other, so it must
	// be quick and must not call back. It may be called more than once.
	Removed func(lofn.Ref)
	Log     *slog.Logger
}

// Reconciler is safe for concurrent use.
type Reconciler struct {
	Config
	synced, told chan struct{}
	// life ends with Run, and with it every attempt to reach the provider.
	life context.Context
	end  context.CancelFunc

	mu sync.Mutex
	// wanted holds the functions as the store has them, but for their replica
	// counts, which are the scaler's.
	wanted map[lofn.Ref]lofn.Function
	// revisions are those at which the functions in wanted were read; seen is
	// closed and replaced when they change.
	revisions map[lofn.Ref]lofn.Revision
	seen      chan struct{}
	// tasks holds what is still to be told to the provider.
	tasks map[lofn.Ref]*task
	// untold are the functions that the store held at the start and of which the
	// provider has not been told yet.
	untold   map[lofn.Ref]bool
	replicas map[lofn.Ref]map[string]lofn.Replica
	workers  sync.WaitGroup
}

// New returns a Reconciler; Run starts it.
func New(c Config) *Reconciler {
	life, end := context.WithCancel(context.Background())
	return &Reconciler{
		life: life, end: end,
		Config:    c,
		synced:    make(chan struct{}),
		told:      make(chan struct{}),
		wanted:    make(map[lofn.Ref]lofn.Function),
		revisions: make(map[lofn.Ref]lofn.Revision),
		seen:      make(chan struct{}),
		tasks:     make(map[lofn.Ref]*task),
		untold:    make(map[lofn.Ref]bool),
		replicas:  make(map[lofn.Ref]map[string]lofn.Replica),
	}
}

// Run works until ctx ends. It may be called once.
func (r *Reconciler) Run(ctx context.Context) {
	defer context.AfterFunc(ctx, r.end)()
	var loops sync.WaitGroup
	loops.Go(func() { r.followStore(ctx) })
	loops.Go(func() {
		for replica := range r.Provider.Watch(ctx) {
			r.observe(replica)
		}
	})
	loops.Wait()
	r.end()
	r.workers.Wait()
}

// Synced is closed when every function that the store held at the start is
// known to the pool.
func (r *Reconciler) Synced() <-chan struct{} { return r.synced }

// Deployed returns the functions of a namespace, ordered by name, with the
// replica counts that they should have now. They are those that calls meet; a
// change of the store is among them when Await returns.
func (r *Reconciler) Deployed(namespace string) []lofn.Function {
	r.mu.Lock()
	var list []lofn.Function
	for ref, fn := range r.wanted {
		if ref.Namespace == namespace {
			list = append(list, fn)
		}
	}
	r.mu.Unlock()
	slices.SortFunc(list, func(a, b lofn.Function) int { return a.Ref.Compare(b.Ref) })
	return list
}

// Replicas returns the replicas of a function, ordered by ID.
func (r *Reconciler) Replicas(ref lofn.Ref) []lofn.Replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]lofn.Replica, 0, len(r.replicas[ref]))
	for _, replica := range r.replicas[ref] {
		list = append(list, replica)
	}
	slices.SortFunc(list, func(a, b lofn.Replica) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// Count is how many replicas a function has.
type Count struct {
	Function      lofn.Ref
	Wanted, Ready int
	// Runtime is as in lofn.Function.
	Runtime string
}

// Counts returns the counts of all functions, in no order.
func (r *Reconciler) Counts() []Count {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := make([]Count, 0, len(r.wanted))
	for ref, fn := range r.wanted {
		c := Count{Function: ref, Wanted: fn.Replicas, Runtime: fn.Runtime}
		for _, replica := range r.replicas[ref] {
			if replica.State == lofn.Ready {
				c.Ready++
			}
		}
		counts = append(counts, c)
	}
	return counts
}

// Wanted returns how many replicas a function should have now.
func (r *Reconciler) Wanted(ref lofn.Ref) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wanted[ref].Replicas
}

// Scale gives a function so many replicas, unless there is a newer revision of
// it than the one that the decision was about. It does not block.
func (r *Reconciler) Scale(ref lofn.Ref, revision lofn.Revision, replicas int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn, ok := r.wanted[ref]
	if !ok || r.revisions[ref] != revision || fn.Replicas == replicas {
		return
	}
	fn.Replicas = replicas
	r.wanted[ref] = fn
	r.schedule(ref, false)
}

func (r *Reconciler) observe(replica lofn.Replica) {
	r.mu.Lock()
	of := r.replicas[replica.Function]
	if replica.State == lofn.Gone {
		delete(of, replica.ID)
		if len(of) == 0 {
			delete(r.replicas, replica.Function)
		}
	} else {
		if of == nil {
			of = make(map[string]lofn.Replica)
			r.replicas[replica.Function] = of
		}
		of[replica.ID] = replica
	}
	r.mu.Unlock()
	r.Pool.Update(replica)
	r.reportRemoved(replica.Function)
}

// reportRemoved tells of a function of which nothing is left.
func (r *Reconciler) reportRemoved(ref lofn.Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, wanted := r.wanted[ref]; wanted || len(r.replicas[ref]) > 0 || r.Removed == nil {
		return
	}
	r.Removed(ref)
}

// followStore takes in the store's changes, and starts over when the watch
// breaks.
func (r *Reconciler) followStore(ctx context.Context) {
	first := sync.OnceFunc(func() {
		close(r.synced)
		r.knows(lofn.Ref{})
	})
	for pause := minPause; ctx.Err() == nil; pause = next(pause) {
		seen := make(map[lofn.Ref]bool)
		for change, err := range r.Functions.Watch(ctx) {
			if err != nil {
				r.Log.Error("lost sight of the stored functions, trying again", "error", err, "in", pause)
				break
			}
			switch {
			case change.Synced:
				r.forgetAllBut(seen)
				seen, pause = nil, minPause
				first()
			case change.Deleted:
				r.forget(change.Ref)
			default:
				if seen != nil {
					seen[change.Ref] = true
				}
				r.want(change.Value, change.Revision, !r.isSynced())
			}
		}
		wait(ctx, pause)
	}
}

func (r *Reconciler) isSynced() bool {
	select {
	case <-r.synced:
		return true
	default:
		return false
	}
}

func (r *Reconciler) want(fn lofn.Function, revision lofn.Revision, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.saw(fn.Ref, revision)
	fn.Replicas = r.Scaler.Declare(fn, revision, first)
	if first {
		r.untold[fn.Ref] = true
	}
	old, known := r.wanted[fn.Ref]
	r.wanted[fn.Ref] = fn
	// A function that was deleted and made anew may show as one change.
	r.schedule(fn.Ref, known && !old.CreatedAt.Equal(fn.CreatedAt))
}

func (r *Reconciler) forget(ref lofn.Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.saw(ref, 0)
	r.Scaler.Forget(ref)
	delete(r.wanted, ref)
	r.schedule(ref, true)
}

// saw notes which revision of a function is known now, 0 for none, and wakes
// those who wait for it. Called with the lock held.
func (r *Reconciler) saw(ref lofn.Ref, revision lofn.Revision) {
	if revision == 0 {
		delete(r.revisions, ref)
	} else {
		r.revisions[ref] = revision
	}
	close(r.seen)
	r.seen = make(chan struct{})
}

// Await waits until a change of the store has reached the pool, so that the
// next call meets it: a record of the function at the revision or a later one,
// or with deleted set no record of that revision. It gives up with ctx.
func (r *Reconciler) Await(ctx context.Context, ref lofn.Ref, revision lofn.Revision, deleted bool) {
	for {
		r.mu.Lock()
		known, exists := r.revisions[ref]
		seen := r.seen
		r.mu.Unlock()
		if known > revision || known == revision && !deleted || deleted && !exists {
			return
		}
		select {
		case <-seen:
		case <-ctx.Done():
			return
		}
	}
}

// forgetAllBut removes functions that were deleted while nobody watched.
func (r *Reconciler) forgetAllBut(seen map[lofn.Ref]bool) {
	r.mu.Lock()
	var lost []lofn.Ref
	for ref := range r.wanted {
		if !seen[ref] {
			lost = append(lost, ref)
		}
	}
	r.mu.Unlock()
	for _, ref := range lost {
		r.forget(ref)
	}
}

const (
	minPause = 100 * time.Millisecond
	maxPause = 10 * time.Second
)

func next(pause time.Duration) time.Duration { return min(2*pause, maxPause) }

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
