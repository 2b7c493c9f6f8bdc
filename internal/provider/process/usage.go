package process

import (
	"context"
	"time"

	"lofn"
)

// sample is what a function had consumed at a moment.
type sample struct {
	at    time.Time
	cpu   map[string]time.Duration // by replica
	usage lofn.Usage
}

// A reading younger than this is given again: over a shorter time the share of
// a core would be noise.
const freshness = 500 * time.Millisecond

// Usage implements lofn.UsageReporter. CPU is the average since it was last
// asked for, the first time since each replica started.
func (p *Provider) Usage(_ context.Context, ref lofn.Ref) (lofn.Usage, error) {
	now := time.Now()
	p.mu.Lock()
	last := p.samples[ref]
	var replicas []running
	for _, r := range p.replicas {
		if r.fn.Ref == ref {
			replicas = append(replicas, r)
		}
	}
	p.mu.Unlock()
	if now.Sub(last.at) < freshness {
		return last.usage, nil
	}
	next := sample{at: now, cpu: make(map[string]time.Duration)}
	for _, r := range replicas {
		cpu, memory := r.consumed()
		next.cpu[r.id] = cpu
		since, before := last.at, last.cpu[r.id]
		if since.Before(r.since) {
			since, before = r.since, 0
		}
		if spent := now.Sub(since); spent > 0 {
			next.usage.MilliCPU += 1000 * max(0, float64(cpu-before)/float64(spent))
		}
		next.usage.MemoryBytes += float64(memory)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(replicas) == 0 {
		delete(p.samples, ref)
	} else {
		p.samples[ref] = next
	}
	return next.usage, nil
}
