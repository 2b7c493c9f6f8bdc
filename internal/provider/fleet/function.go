package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"lofn"
)

// function is what is wanted of one function and the replicas it has. The
// fields are guarded by Fleet.mu.
type function struct {
	want     lofn.Function
	removed  bool
	replicas []*replica
}

// replica is one replica with the goroutine that leads it through its life.
// The fields are guarded by Fleet.mu, except those that never change.
type replica struct {
	owner *function
	fn    lofn.Function
	view  lofn.Replica
	// proven is set once it was ready: a proven replica of an older generation
	// is worth keeping while it restarts.
	proven   bool
	stopping bool
	// survivor is what it was adopted with; it is used once.
	survivor Instance
	stop     context.CancelFunc
	retry    chan struct{}
	// failure is the reason of the last failure.
	failure string
}

// reconcile starts and stops replicas until fn has those that it should have
// at the moment. It runs after each change of the wish or of a replica.
func (f *Fleet) reconcile(fn *function) {
	if f.paused() {
		return
	}
	wanted := fn.want.Replicas
	if fn.removed {
		wanted = 0
	}
	current, older := fn.staying()
	ready := 0
	for _, r := range current {
		if r.view.State == lofn.Ready {
			ready++
		}
	}
	for range wanted - len(current) {
		f.add(fn)
	}
	f.trim(current, wanted)
	if ready >= wanted {
		wanted = 0
	}
	f.trim(older, wanted)
}

// staying returns the replicas that were not told to stop: those of the wanted
// generation, and the older ones that have been in service.
func (fn *function) staying() (current, older []*replica) {
	for _, r := range fn.replicas {
		switch {
		case r.stopping:
		case r.fn.Generation == fn.want.Generation:
			current = append(current, r)
		case r.proven:
			older = append(older, r)
		default:
			r.halt()
		}
	}
	return current, older
}

// trim stops all but keep of the replicas: first those that are of no use yet,
// then the youngest.
func (f *Fleet) trim(replicas []*replica, keep int) {
	if len(replicas) <= keep {
		return
	}
	usable := func(r *replica) int {
		if r.view.State == lofn.Ready {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(replicas, func(a, b *replica) int { return cmp.Compare(usable(a), usable(b)) })
	for _, r := range replicas[keep:] {
		r.halt()
	}
}

func (r *replica) halt() {
	r.stopping = true
	r.stop()
}

// NewID returns an ID for a replica.
func NewID(fn lofn.Function) string {
	return fn.Name + "-" + strings.ToLower(rand.Text()[:10])
}

// add starts a replica of the wanted generation.
func (f *Fleet) add(fn *function) { f.lead(fn, fn.want, f.Name(fn.want), nil) }

// adopt takes in a replica that is in service.
func (f *Fleet) adopt(fn *function, s Survivor) { f.lead(fn, s.Function, s.ID, s.Instance) }

// lead makes a replica of fn and has it led through its life.
func (f *Fleet) lead(fn *function, of lofn.Function, id string, survivor Instance) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &replica{owner: fn, fn: of, survivor: survivor, stop: cancel, retry: make(chan struct{}, 1)}
	r.view = lofn.Replica{Function: of.Ref, ID: id, Generation: of.Generation, State: lofn.Starting, Since: time.Now()}
	if survivor != nil {
		r.proven = true
		r.serves(survivor, 0)
	}
	fn.replicas = append(fn.replicas, r)
	f.board.Post(r.view)
	f.runs.Go(func() {
		defer cancel()
		f.run(ctx, r)
	})
}

// serves notes that the replica is in service.
func (r *replica) serves(instance Instance, waited time.Duration) {
	v := &r.view
	v.State = lofn.Ready
	if v.Reason = r.failure; v.Reason != "" {
		v.Reason = "started again: " + v.Reason
	}
	v.Network, v.Address = instance.Address()
	v.Startup = instance.Startup()
	v.Startup.Wait = waited
}

// report says what a start is waiting for.
func (f *Fleet) report(r *replica, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.view.State == lofn.Starting {
		r.view.Reason = text
		f.board.Post(r.view)
	}
}

// change publishes a new state of r and reconsiders its function.
func (f *Fleet) change(r *replica, edit func(*lofn.Replica)) lofn.Replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit(&r.view)
	r.view.Since = time.Now()
	r.proven = r.proven || r.view.State == lofn.Ready
	if r.view.State == lofn.Gone {
		r.owner.replicas = slices.DeleteFunc(r.owner.replicas, func(other *replica) bool { return other == r })
	}
	f.board.Post(r.view)
	f.reconcile(r.owner)
	f.forget(r.owner)
	return r.view
}

// forget drops a function of which nothing is wanted and nothing is left. There
// may be thousands, so little is kept of those that were not removed.
func (f *Fleet) forget(fn *function) {
	if len(fn.replicas) > 0 || !fn.removed && fn.want.Replicas > 0 {
		return
	}
	delete(f.functions, fn.want.Ref)
	if !fn.removed {
		f.resting[fn.want.Ref] = fn.want.Generation
	}
}
