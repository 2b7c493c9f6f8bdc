package fake_test

import (
	"context"
	"testing"

	"lofn"
	"lofn/internal/provider/fake"
	"lofn/internal/provider/providertest"
)

func TestConformance(t *testing.T) {
	providertest.Run(t, providertest.Harness{
		Provider: func(t *testing.T, drain func(context.Context, lofn.Replica) error) lofn.Provider {
			p, err := fake.New(fake.Config{
				Drain: drain,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { p.Close(context.Background()) })
			return broken{p}
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
			if !p.(broken).Crash(r.ID, "kicked") {
				t.Errorf("no replica %s to crash", r.ID)
			}
		},
	})
}

// broken fails the starts of functions with the image "broken".
type broken struct{ *fake.Provider }

func (b broken) Ensure(ctx context.Context, fn lofn.Function) error {
	if fn.Spec.Image == "broken" {
		b.Fail(fn.Ref, fn.Generation, "kaputt\nover two lines")
	}
	return b.Provider.Ensure(ctx, fn)
}
