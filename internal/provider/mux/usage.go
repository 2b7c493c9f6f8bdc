package mux

import (
	"context"
	"errors"
	"maps"
	"slices"

	"lofn"
	"lofn/internal/provider/fleet"
)

// Usage implements lofn.UsageReporter. While a function changes its runtime it
// is what both consume.
func (p *Provider) Usage(ctx context.Context, ref lofn.Ref) (sum lofn.Usage, err error) {
	for _, runtime := range p.runtimes {
		usage, err := runtime.Usage(ctx, ref)
		if err != nil {
			return lofn.Usage{}, err
		}
		sum.MilliCPU += usage.MilliCPU
		sum.MemoryBytes += usage.MemoryBytes
	}
	return sum, nil
}

// SyncSecret implements lofn.SecretSyncer.
func (p *Provider) SyncSecret(ctx context.Context, namespace, name string) error {
	var errs []error
	for _, runtime := range p.runtimes {
		errs = append(errs, runtime.SyncSecret(ctx, namespace, name))
	}
	return errors.Join(errs...)
}

// Consumption returns what each function consumed that has or had a replica,
// once for each function.
func (p *Provider) Consumption() []fleet.Consumption {
	sums := make(map[lofn.Ref]fleet.Consumption)
	for _, runtime := range p.runtimes {
		for _, c := range runtime.Consumption() {
			sum := sums[c.Function]
			sum.Function = c.Function
			sum.CPU += c.CPU
			sum.MemoryBytes += c.MemoryBytes
			sums[c.Function] = sum
		}
	}
	return slices.Collect(maps.Values(sums))
}

// Forget drops what was counted for a function that was removed and of which
// nothing runs any more.
func (p *Provider) Forget(ref lofn.Ref) {
	for _, runtime := range p.runtimes {
		runtime.Forget(ref)
	}
}

// Digests returns the images that replicas run from.
func (p *Provider) Digests() []string {
	var digests []string
	for _, runtime := range p.runtimes {
		digests = append(digests, runtime.Digests()...)
	}
	slices.Sort(digests)
	return slices.Compact(digests)
}
