package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"lofn"
	"lofn/internal/deploy"
	"lofn/internal/provider/fake"
	"lofn/internal/store/mem"
)

// known is a pool that remembers which functions it was told of.
type known struct {
	mu       sync.Mutex
	declared map[lofn.Ref]int
}

func (k *known) Declare(fn lofn.Function) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.declared == nil {
		k.declared = map[lofn.Ref]int{}
	}
	k.declared[fn.Ref] = fn.Replicas
}

func (k *known) Forget(ref lofn.Ref) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.declared, ref)
}

func (*known) Update(lofn.Replica) {}

func (k *known) has(ref lofn.Ref) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.declared[ref]
	return ok
}

// asStored is a scaler that leaves counts as the store has them.
type asStored struct{}

func (asStored) Declare(fn lofn.Function, _ lofn.Revision, _ bool) int { return fn.Replicas }
func (asStored) Forget(lofn.Ref)                                       {}

// moody is a provider that refuses as long as its errors last.
type moody struct {
	*fake.Provider
	mu      sync.Mutex
	refuse  int
	ensured []int64 // generations, in the order they were taken
	removed int
}

func (m *moody) Ensure(ctx context.Context, fn lofn.Function) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse > 0 {
		m.refuse--
		return errors.New("not now")
	}
	m.ensured = append(m.ensured, fn.Generation)
	return m.Provider.Ensure(ctx, fn)
}

func (m *moody) Remove(ctx context.Context, ref lofn.Ref) error {
	m.mu.Lock()
	m.removed++
	m.mu.Unlock()
	return m.Provider.Remove(ctx, ref)
}

// flaky is a store whose first watch breaks after a while.
type flaky struct {
	lofn.Store[lofn.Function]
	breaks chan struct{}
	once   sync.Once
}

func (f *flaky) Watch(ctx context.Context) iter.Seq2[lofn.Change[lofn.Function], error] {
	first := false
	f.once.Do(func() { first = true })
	if !first {
		return f.Store.Watch(ctx)
	}
	return func(yield func(lofn.Change[lofn.Function], error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			<-f.breaks
			cancel()
		}()
		for change, err := range f.Store.Watch(ctx) {
			if !yield(change, err) {
				return
			}
		}
		yield(lofn.Change[lofn.Function]{}, errors.New("connection lost"))
	}
}

type setup struct {
	*testing.T
	store      lofn.Store[lofn.Function]
	provider   *moody
	pool       *known
	reconciler *deploy.Reconciler
	removed    chan lofn.Ref
}

func start(t *testing.T, store lofn.Store[lofn.Function], refuse int) *setup {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	p, err := fake.New(fake.Config{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	s := &setup{T: t, store: store, provider: &moody{Provider: p, refuse: refuse}, pool: &known{}, removed: make(chan lofn.Ref, 100)}
	s.reconciler = deploy.New(deploy.Config{Functions: store, Provider: s.provider, Pool: s.pool, Scaler: asStored{}, Log: log,
		Removed: func(ref lofn.Ref) { s.removed <- ref }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.reconciler.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = p.Close(context.Background())
	})
	return s
}

func named(name string) lofn.Ref { return lofn.Ref{Namespace: lofn.DefaultNamespace, Name: name} }

func (s *setup) put(name string, replicas int, generation int64) {
	s.Helper()
	record, err := s.store.Get(s.Context(), named(name))
	fn := lofn.Function{Ref: named(name), Replicas: replicas, Generation: generation, Spec: lofn.Spec{Image: "x"}}
	fn.CreatedAt = record.Value.CreatedAt
	if err != nil {
		fn.CreatedAt = time.Now()
	}
	if _, err := s.store.Put(s.Context(), fn.Ref, fn, record.Revision); err != nil {
		s.Fatal(err)
	}
}

func (s *setup) delete(name string) {
	s.Helper()
	record, err := s.store.Get(s.Context(), named(name))
	if err != nil {
		s.Fatal(err)
	}
	if err := s.store.Delete(s.Context(), named(name), record.Revision); err != nil {
		s.Fatal(err)
	}
}

func (s *setup) ready(name string) int {
	n := 0
	for _, r := range s.reconciler.Replicas(named(name)) {
		if r.State == lofn.Ready {
			n++
		}
	}
	return n
}

func (s *setup) eventually(what string, condition func() bool) {
	s.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			s.Fatalf("waited in vain until %s", what)
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-s.Context().Done():
			s.FailNow()
		}
	}
}

func TestWhatIsStoredRuns(t *testing.T) {
	store := mem.New[lofn.Function]()
	before := lofn.Function{Ref: named("before"), Replicas: 2, Generation: 1, Spec: lofn.Spec{Image: "x"}}
	if _, err := store.Put(t.Context(), before.Ref, before, 0); err != nil {
		t.Fatal(err)
	}
	s := start(t, store, 0)
	<-s.reconciler.Synced()
	if !s.pool.has(named("before")) {
		t.Error("synced, and the pool does not know a function that was stored before")
	}
	s.put("after", 1, 1)
	s.eventually("both run", func() bool { return s.ready("before") == 2 && s.ready("after") == 1 })
	s.put("before", 1, 1)
	s.eventually("one is scaled down", func() bool { return s.ready("before") == 1 })
	s.delete("before")
	s.eventually("one is gone", func() bool { return len(s.reconciler.Replicas(named("before"))) == 0 })
	if ref := <-s.removed; ref != named("before") {
		t.Errorf("%s is reported removed", ref)
	}
	if s.pool.has(named("before")) {
		t.Error("the pool still knows a removed function")
	}
	if counts := s.reconciler.Counts(); len(counts) != 1 || counts[0].Function != named("after") || counts[0].Wanted != 1 {
		t.Errorf("counts: %+v", counts)
	}
}

func TestAProviderThatRefusesIsAskedAgain(t *testing.T) {
	s := start(t, mem.New[lofn.Function](), 3)
	s.put("echo", 1, 1)
	s.eventually("it runs after all", func() bool { return s.ready("echo") == 1 })
}

// TestToldIsWhenTheProviderKnowsAll has a provider that refuses at first: until it
// took every function, what it has of others may still be somebody's.
func TestToldIsWhenTheProviderKnowsAll(t *testing.T) {
	for _, functions := range []int{0, 3} {
		store := mem.New[lofn.Function]()
		for i := range functions {
			fn := lofn.Function{Ref: named(fmt.Sprintf("fn-%d", i)), Replicas: i, Generation: 1, Spec: lofn.Spec{Image: "x"}}
			if _, err := store.Put(t.Context(), fn.Ref, fn, 0); err != nil {
				t.Fatal(err)
			}
		}
		s := start(t, store, functions+2)
		select {
		case <-s.reconciler.Told():
		case <-time.After(20 * time.Second):
			t.Fatalf("with %d functions the provider was never told of all", functions)
		}
		s.provider.mu.Lock()
		if n := len(s.provider.ensured); n < functions {
			t.Errorf("of %d functions the provider was told of %d", functions, n)
		}
		s.provider.mu.Unlock()
	}
}

func TestAFunctionMadeAnewIsNotTakenForItsPredecessor(t *testing.T) {
	// While the provider refuses, the removal and the new function fall
	// together; the removal must reach the provider all the same.
	s := start(t, mem.New[lofn.Function](), 0)
	s.put("echo", 1, 7)
	s.eventually("it runs", func() bool { return s.ready("echo") == 1 })
	s.provider.mu.Lock()
	s.provider.refuse = 2
	s.provider.mu.Unlock()
	s.put("echo", 1, 8)
	s.delete("echo")
	s.put("echo", 1, 1)
	s.eventually("the new one runs", func() bool {
		replicas := s.reconciler.Replicas(named("echo"))
		return len(replicas) == 1 && replicas[0].Generation == 1 && replicas[0].State == lofn.Ready
	})
	s.provider.mu.Lock()
	defer s.provider.mu.Unlock()
	if s.provider.removed == 0 || slices.Index(s.provider.ensured, 1) < 0 {
		t.Errorf("removed %d times, took generations %v", s.provider.removed, s.provider.ensured)
	}
}

func TestDeployedListsANamespaceByName(t *testing.T) {
	s := start(t, mem.New[lofn.Function](), 0)
	for _, name := range []string{"b", "c", "a"} {
		s.put(name, 0, 1)
		s.eventually(name+" is known", func() bool { return s.pool.has(named(name)) })
	}
	s.delete("c")
	s.eventually("c is forgotten", func() bool { return !s.pool.has(named("c")) })
	var names []string
	for _, fn := range s.reconciler.Deployed(lofn.DefaultNamespace) {
		names = append(names, fn.Name)
	}
	if !slices.Equal(names, []string{"a", "b"}) || len(s.reconciler.Deployed("elsewhere")) != 0 {
		t.Errorf("deployed are %q", names)
	}
}

func TestADecisionIsAboutOneRevision(t *testing.T) {
	s := start(t, mem.New[lofn.Function](), 0)
	s.put("echo", 0, 1)
	s.eventually("it is known", func() bool { return s.pool.has(named("echo")) })
	old, err := s.store.Get(t.Context(), named("echo"))
	if err != nil {
		t.Fatal(err)
	}
	s.reconciler.Scale(named("nobody"), 1, 1)
	s.reconciler.Scale(named("echo"), old.Revision, 1)
	s.eventually("it runs", func() bool { return s.ready("echo") == 1 })
	if n := s.reconciler.Wanted(named("echo")); n != 1 {
		t.Errorf("%d replicas are wanted of a function that was scaled to 1", n)
	}
	s.put("echo", 0, 1)
	s.eventually("what was stored later holds", func() bool { return s.ready("echo") == 0 })
	s.reconciler.Scale(named("echo"), old.Revision, 1)
	if n := s.reconciler.Wanted(named("echo")); n != 0 {
		t.Errorf("%d replicas are wanted by a decision about what the function was before", n)
	}
}

func TestABrokenWatchLosesNothing(t *testing.T) {
	store := &flaky{Store: mem.New[lofn.Function](), breaks: make(chan struct{})}
	s := start(t, store, 0)
	s.put("stays", 1, 1)
	s.put("goes", 1, 1)
	s.eventually("both run", func() bool { return s.ready("stays") == 1 && s.ready("goes") == 1 })
	running := s.provider.Running()
	close(store.breaks)
	s.delete("goes")
	s.put("comes", 1, 1)
	s.eventually("what changed meanwhile is seen", func() bool {
		return s.ready("comes") == 1 && len(s.reconciler.Replicas(named("goes"))) == 0
	})
	if s.ready("stays") != 1 || len(slices.DeleteFunc(s.provider.Running(), func(id string) bool { return !slices.Contains(running, id) })) != 1 {
		t.Errorf("a function that did not change was restarted: %v, then %v", running, s.provider.Running())
	}
}
