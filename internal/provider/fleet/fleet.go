// Package fleet is the part of a lofn.Provider that does not depend on what a
// replica is: it keeps as many as are wanted running, replaces a generation
// without a gap, restarts with a growing pause what fails, and tells watchers.
//
// A provider that makes replicas itself, as processes or containers, supplies
// a Starter and gets Ensure, Remove and Watch. One that hands its wishes to an
// orchestrator has no use for it.
package fleet

import (
	"context"
	"iter"
	"log/slog"
	"runtime"
	"sync"

	"lofn"
)

// Starter makes replicas. It is called concurrently.
type Starter interface {
	// Start makes one replica of fn, known as id, and returns it once it
	// accepts calls. When ctx ends first it undoes what it began and returns
	// an error. The text of an error is shown to people as the reason: one
	// line that names the cause. What takes long it tells to progress, in one
	// line each time, but not often.
	Start(ctx context.Context, fn lofn.Function, id string, progress func(string)) (Instance, error)
}

// Survivor is a replica that was in service before there was this Fleet.
type Survivor struct {
	Function lofn.Function
	ID       string
	Instance Instance
}

// Instance is a replica that accepted calls when it was returned.
type Instance interface {
	// Address is what net.Dial takes to reach the replica.
	Address() (network, address string)
	// Done is closed when the instance has ended, by itself or by Stop.
	Done() <-chan struct{}
	// Err says, once Done is closed, why the instance ended by itself.
	Err() error
	// Startup is how long the parts of Start took.
	Startup() lofn.Startup
	// Stop asks the instance to finish what it has and end, and returns when
	// nothing is left of it. When ctx ends it is ended by force.
	Stop(ctx context.Context)
}

// Config is what a Fleet works with.
type Config struct {
	Starter Starter
	// Drain returns when no call is on the replica any more and none will be
	// sent to it, or when ctx ends. A nil Drain returns at once.
	Drain func(ctx context.Context, r lofn.Replica) error
	// Name returns the ID of a replica that is to be made. Forgo is told of an
	// ID when no Start with it will follow. Neither may call back. A nil Name
	// makes IDs up.
	Name  func(fn lofn.Function) string
	Forgo func(id string)
	// Survivors returns, and forgets, the survivors of a function. It is asked
	// when the Fleet hears of a function that it does not know, and must be
	// quick and not call back. A nil Survivors has none.
	Survivors func(ref lofn.Ref) []Survivor
	// Failed is told why a replica failed, each time. Nil discards it.
	Failed func(fn lofn.Ref, id, reason string)
	// Started is told of each replica that got ready, after the watchers, of
	// several at once. Nil discards it.
	Started func(r lofn.Replica)
	// MaxStarts bounds how many replicas are being started at one moment;
	// 0 means four for each core.
	MaxStarts int
	// Log receives what fails; nil discards it.
	Log *slog.Logger
}

// Fleet implements lofn.Provider with a Starter. Its methods are safe for
// concurrent use.
type Fleet struct {
	Config
	starts chan struct{}
	// forced ends when the time allowed to Close is over.
	forced context.Context
	force  context.CancelFunc
	runs   sync.WaitGroup
	// left is closed when the replicas are to be left as they are.
	left chan struct{}

	mu     sync.Mutex
	closed bool
	// going is closed unless the Fleet is paused.
	going     chan struct{}
	functions map[lofn.Ref]*function
	// resting holds the generations of functions of which nothing is wanted and
	// nothing is left.
	resting map[lofn.Ref]int64
	board   *Board
}

// New returns a Fleet without functions.
func New(c Config) *Fleet {
	if c.MaxStarts <= 0 {
		c.MaxStarts = 4 * runtime.NumCPU()
	}
	if c.Drain == nil {
		c.Drain = func(context.Context, lofn.Replica) error { return nil }
	}
	if c.Name == nil {
		c.Name = NewID
	}
	if c.Forgo == nil {
		c.Forgo = func(string) {}
	}
	if c.Survivors == nil {
		c.Survivors = func(lofn.Ref) []Survivor { return nil }
	}
	if c.Failed == nil {
		c.Failed = func(lofn.Ref, string, string) {}
	}
	if c.Started == nil {
		c.Started = func(lofn.Replica) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	forced, force := context.WithCancel(context.Background())
	going := make(chan struct{})
	close(going)
	return &Fleet{
		Config:    c,
		starts:    make(chan struct{}, c.MaxStarts),
		forced:    forced,
		force:     force,
		left:      make(chan struct{}),
		going:     going,
		functions: make(map[lofn.Ref]*function),
		resting:   make(map[lofn.Ref]int64),
		board:     NewBoard(),
	}
}

// Ensure implements lofn.Provider.
func (f *Fleet) Ensure(ctx context.Context, fn lofn.Function) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := fn.Ref.Validate(); err != nil {
		return err
	}
	if fn.Replicas < 0 {
		return lofn.Errorf(lofn.Invalid, "replicas: must be 0 or more, not %d", fn.Replicas)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return lofn.Errorf(lofn.Unavailable, "%s: the provider is shutting down", fn.Ref)
	}
	known := f.functions[fn.Ref]
	if known == nil {
		known = &function{}
		f.functions[fn.Ref] = known
		known.want.Generation = f.resting[fn.Ref]
		for _, s := range f.Survivors(fn.Ref) {
			f.adopt(known, s)
		}
	}
	if !known.removed && fn.Generation < known.want.Generation {
		return lofn.Errorf(lofn.Conflict, "%s: generation %d is older than %d, which is in force", fn.Ref, fn.Generation, known.want.Generation)
	}
	known.want, known.removed = fn, false
	delete(f.resting, fn.Ref)
	f.reconcile(known)
	f.forget(known)
	return nil
}

// Remove implements lofn.Provider.
func (f *Fleet) Remove(ctx context.Context, ref lofn.Ref) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.resting, ref)
	if fn := f.functions[ref]; fn != nil {
		fn.removed = true
		f.reconcile(fn)
		f.forget(fn)
	}
	return nil
}

// Watch implements lofn.Provider.
func (f *Fleet) Watch(ctx context.Context) iter.Seq[lofn.Replica] { return f.board.Watch(ctx) }

// Retry ends the pause of the failed replicas whose function selected picks.
func (f *Fleet) Retry(selected func(lofn.Function) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fn := range f.functions {
		for _, r := range fn.replicas {
			if selected(r.fn) {
				select {
				case r.retry <- struct{}{}:
				default:
				}
			}
		}
	}
}

// Pause has the Fleet start and stop nothing until Resume, but for what is
// being stopped already. What is being started is given up. Wishes are noted.
func (f *Fleet) Pause() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.paused() {
		return
	}
	f.going = make(chan struct{})
	f.halt(lofn.Starting)
}

// halt stops the replicas that are in a state.
func (f *Fleet) halt(state lofn.State) {
	for _, fn := range f.functions {
		for _, r := range fn.replicas {
			if r.view.State == state && !r.stopping {
				r.halt()
			}
		}
	}
}

// Resume ends a Pause, and makes up for it.
func (f *Fleet) Resume() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.paused() {
		return
	}
	close(f.going)
	for _, fn := range f.functions {
		f.reconcile(fn)
		f.forget(fn)
	}
}

// Paused reports whether the Fleet is paused.
func (f *Fleet) Paused() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.paused()
}

// paused is called with the lock held.
func (f *Fleet) paused() bool {
	select {
	case <-f.going:
		return false
	default:
		return true
	}
}

// Close stops all replicas, letting them finish their calls until ctx ends,
// and returns when nothing is left of them. No function can be ensured after.
func (f *Fleet) Close(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	if f.paused() {
		close(f.going)
	}
	for _, fn := range f.functions {
		fn.removed = true
		f.reconcile(fn)
		f.forget(fn)
	}
	f.mu.Unlock()
	return f.await(ctx)
}

// Detach is Close, except that replicas in service stay so, led by nobody; they
// may be the Survivors of another Fleet. Watchers are not told.
func (f *Fleet) Detach(ctx context.Context) error {
	f.Pause()
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		close(f.left)
		f.halt(lofn.Failed)
	}
	f.mu.Unlock()
	return f.await(ctx)
}

// await returns when no replica is led any more. When ctx ends it makes it so.
func (f *Fleet) await(ctx context.Context) error {
	defer context.AfterFunc(ctx, f.force)()
	f.runs.Wait()
	f.force()
	return ctx.Err()
}
