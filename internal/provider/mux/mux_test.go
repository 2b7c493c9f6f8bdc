package mux_test

import (
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lofn"
	"lofn/internal/provider/fake"
	"lofn/internal/provider/fleet"
	"lofn/internal/provider/mux"
	"lofn/internal/provider/providertest"
)

// TestConformance runs the suite over two real providers, with functions of the
// one runtime, of the other, of both side by side, and with functions that change
// theirs with each generation.
func TestConformance(t *testing.T) {
	names := []string{lofn.RuntimeProcess, lofn.RuntimeContainer}
	for name, choose := range map[string]func(fn lofn.Function) string{
		"Process":   func(lofn.Function) string { return lofn.RuntimeProcess },
		"Container": func(lofn.Function) string { return lofn.RuntimeContainer },
		"Both": func(fn lofn.Function) string {
			h := fnv.New32()
			_, _ = h.Write([]byte(fn.Ref.Host()))
			return names[h.Sum32()%2]
		},
		"Changing": func(fn lofn.Function) string { return names[fn.Generation%2] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conform(t, choose)
		})
	}
}

func conform(t *testing.T, choose func(fn lofn.Function) string) {
	providertest.Run(t, providertest.Harness{
		Provider: func(t *testing.T, drain func(context.Context, lofn.Replica) error) lofn.Provider {
			c := chooser{choose: choose, process: newFake(t, drain), container: newFake(t, drain)}
			c.Provider = mux.New(mux.Config{Process: c.process, Container: c.container})
			t.Cleanup(c.Close)
			return c
		},
		Function: func(_ *testing.T, ref lofn.Ref, text string) lofn.Function {
			return lofn.Function{
				Ref:        ref,
				Spec:       lofn.Spec{Image: "any", Env: map[string]string{fake.EnvAnswer: text}},
				Generation: 1,
				Replicas:   1,
			}
		},
		Broken: func(_ *testing.T, ref lofn.Ref) lofn.Function {
			return lofn.Function{Ref: ref, Spec: lofn.Spec{Image: "broken"}, Generation: 1, Replicas: 1}
		},
		Crash: func(t *testing.T, p lofn.Provider, r lofn.Replica) {
			c := p.(chooser)
			if !c.process.Crash(r.ID, "kicked") && !c.container.Crash(r.ID, "kicked") {
				t.Errorf("no replica %s to crash", r.ID)
			}
		},
	})
}

// chooser gives functions their runtime, and fails the starts of those with the
// image "broken".
type chooser struct {
	*mux.Provider
	choose             func(fn lofn.Function) string
	process, container faked
}

func (c chooser) Ensure(ctx context.Context, fn lofn.Function) error {
	if fn.Spec.Image == "broken" {
		c.process.Fail(fn.Ref, fn.Generation, "kaputt\nover two lines")
		c.container.Fail(fn.Ref, fn.Generation, "kaputt\nover two lines")
	}
	fn.Runtime = c.choose(fn)
	return c.Provider.Ensure(ctx, fn)
}

// faked is a fake provider with what else a runtime has.
type faked struct {
	*fake.Provider
	*rest
}

func newFake(t *testing.T, drain func(context.Context, lofn.Replica) error) faked {
	p, err := fake.New(fake.Config{Drain: drain})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close(context.Background()) })
	return faked{Provider: p, rest: &rest{}}
}

// TestWatchKeepsTheOrderOfAReplica reads slowly while replicas of both runtimes
// come and go: what is seen last of each is its end.
func TestWatchKeepsTheOrderOfAReplica(t *testing.T) {
	bubble(t, func(r *rig) {
		rank := map[lofn.State]int{lofn.Starting: 1, lofn.Ready: 2, lofn.Draining: 3, lofn.Gone: 4}
		ctx, cancel := context.WithCancel(r.Context())
		seen, done := make(map[string]int), make(chan struct{})
		go func() {
			defer close(done)
			for replica := range r.Watch(ctx) {
				if now := rank[replica.State]; now < seen[replica.ID] {
					t.Errorf("%+v was seen after a later state", replica)
				}
				seen[replica.ID] = rank[replica.State]
				<-time.After(time.Second)
			}
		}()
		names := []string{lofn.RuntimeProcess, lofn.RuntimeContainer}
		for i := range 20 {
			r.ensure(wish(names[i%2], int64(i+1), 3))
			later(100 * time.Millisecond)
		}
		if err := r.Remove(r.Context(), wish("", 0, 0).Ref); err != nil {
			t.Fatal(err)
		}
		later(10 * time.Minute)
		cancel()
		<-done
		for id, rank := range seen {
			if rank != 4 {
				t.Errorf("the end of %s was not seen", id)
			}
		}
		if len(seen) == 0 {
			t.Error("nothing was seen")
		}
	})
}

func TestWatchEndsWithItsContextWhileItsReaderSleeps(t *testing.T) {
	bubble(t, func(r *rig) {
		r.ensure(wish(lofn.RuntimeProcess, 1, 5))
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		n := 0
		for range r.Watch(ctx) {
			n++
			cancel()
			synctest.Wait()
		}
		if n != 1 {
			t.Errorf("it yielded %d replicas", n)
		}
	})
}

func TestResolve(t *testing.T) {
	host := lofn.Image{Digest: "sha256:host", Labels: map[string]string{lofn.LabelRuntime: lofn.RuntimeHost}}
	whole := lofn.Image{Digest: "sha256:whole"}
	for _, c := range []struct {
		name, annotation string
		image            lofn.Image
		want             string // the runtime
		says             string // of the error
	}{
		{"HostImage", "", host, lofn.RuntimeProcess, ""},
		{"ContainerImage", "", whole, lofn.RuntimeContainer, ""},
		{"HostImageAsProcess", lofn.RuntimeProcess, host, lofn.RuntimeProcess, ""},
		{"ContainerImageAsContainer", lofn.RuntimeContainer, whole, lofn.RuntimeContainer, ""},
		{"HostImageAsContainer", lofn.RuntimeContainer, host, "", "leave the annotation out, or build the function for containers"},
		{"ContainerImageAsProcess", lofn.RuntimeProcess, whole, "", "leave the annotation out, or build the function for processes"},
		{"Unknown", "hovercraft", whole, "", "use process or container"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.process.image, r.container.image = c.image, c.image
				fn := wish("", 1, 1)
				if c.annotation != "" {
					fn.Spec.Annotations = map[string]string{lofn.AnnotationRuntime: c.annotation}
				}
				got, err := r.Resolve(r.Context(), fn)
				if c.says == "" && (err != nil || got.Runtime != c.want || got.Digest != c.image.Digest) {
					r.Errorf("got %+v, %v, want %s", got, err, c.want)
				}
				if c.says != "" && (lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), lofn.AnnotationRuntime)) {
					r.Errorf("got %v, want an error that says %q", err, c.says)
				}
			})
		})
	}
}

// TestWhoLooksAtImages: only the runtime of containers knows how to pull them.
func TestWhoLooksAtImages(t *testing.T) {
	for annotation, byProcess := range map[string]bool{"": false, lofn.RuntimeContainer: false, lofn.RuntimeProcess: true} {
		bubble(t, func(r *rig) {
			byOne, byOther := errors.New("asked the processes"), errors.New("asked the containers")
			r.process.lookErr, r.container.lookErr = byOne, byOther
			fn := wish("", 1, 1)
			if annotation != "" {
				fn.Spec.Annotations = map[string]string{lofn.AnnotationRuntime: annotation}
			}
			_, err := r.Resolve(r.Context(), fn)
			if errors.Is(err, byOne) != byProcess || errors.Is(err, byOther) == byProcess {
				r.Errorf("with the annotation %q: %v", annotation, err)
			}
		})
	}
}

func TestWhatBothRuntimesTellIsPutTogether(t *testing.T) {
	bubble(t, func(r *rig) {
		one, two := lofn.Ref{Namespace: "ns", Name: "one"}, lofn.Ref{Namespace: "ns", Name: "two"}
		r.process.usage = lofn.Usage{MilliCPU: 100, MemoryBytes: 1 << 20}
		r.container.usage = lofn.Usage{MilliCPU: 20, MemoryBytes: 2 << 20}
		if got, err := r.Usage(r.Context(), one); err != nil || got != (lofn.Usage{MilliCPU: 120, MemoryBytes: 3 << 20}) {
			r.Errorf("usage: %+v, %v", got, err)
		}
		r.process.consumed = []fleet.Consumption{{Function: one, CPU: time.Second, MemoryBytes: 1}, {Function: two, CPU: time.Minute}}
		r.container.consumed = []fleet.Consumption{{Function: one, CPU: time.Hour, MemoryBytes: 2}}
		got := r.Consumption()
		slices.SortFunc(got, func(a, b fleet.Consumption) int { return a.Function.Compare(b.Function) })
		want := []fleet.Consumption{{Function: one, CPU: time.Hour + time.Second, MemoryBytes: 3}, {Function: two, CPU: time.Minute}}
		if !slices.Equal(got, want) {
			r.Errorf("consumption: %+v", got)
		}
		r.process.digests, r.container.digests = []string{"sha256:b", "sha256:a"}, []string{"sha256:a", "sha256:c"}
		if got := r.Digests(); !slices.Equal(got, []string{"sha256:a", "sha256:b", "sha256:c"}) {
			r.Errorf("digests: %q", got)
		}
		r.Forget(one)
		if err := r.SyncSecret(r.Context(), "ns", "token"); err != nil {
			r.Error(err)
		}
		for _, side := range []*runtime{r.process, r.container} {
			if !slices.Equal(side.forgotten, []lofn.Ref{one}) || !slices.Equal(side.synced, []string{"ns/token"}) {
				r.Errorf("%s forgot %v and was told of %v", side.name, side.forgotten, side.synced)
			}
		}
	})
}
