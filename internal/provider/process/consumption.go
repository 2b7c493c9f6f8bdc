package process

import (
	"maps"
	"slices"
	"time"

	"lofn"
)

// Consumption returns what each function consumed that has or had a replica.
// Between calls of it nothing is measured.
func (p *Provider) Consumption() []lofn.Consumption {
	p.mu.Lock()
	replicas := slices.Collect(maps.Values(p.replicas))
	p.mu.Unlock()
	memory := make(map[lofn.Ref]int64)
	for i := range replicas {
		cpu, bytes := replicas[i].consumed()
		replicas[i].cpu = cpu
		memory[replicas[i].fn.Ref] += bytes
	}
	totals := p.charge(replicas)
	list := make([]lofn.Consumption, 0, len(totals))
	for ref, cpu := range totals {
		list = append(list, lofn.Consumption{Function: ref, CPU: cpu, MemoryBytes: memory[ref]})
	}
	return list
}

// charge takes in how much CPU time replicas were seen to have used, and
// returns the time of each function. No time ever decreases, though a replica's
// may: the kernel forgets processes for which nobody waited.
func (p *Provider) charge(seen []running) map[lofn.Ref]time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range seen {
		if now := p.replicas[r.id]; now.program == r.program {
			now.cpu = max(now.cpu, r.cpu)
			p.replicas[r.id] = now
		}
	}
	totals := maps.Clone(p.spent)
	for _, r := range p.replicas {
		totals[r.fn.Ref] += r.cpu
	}
	return totals
}

// Forget drops what was counted for a function that was removed and of which
// nothing runs any more.
func (p *Provider) Forget(ref lofn.Ref) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.spent, ref)
}
