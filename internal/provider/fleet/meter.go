package fleet

import (
	"maps"
	"slices"
	"sync"
	"time"

	"lofn"
)

// Consumption is what the replicas of a function have used of the processors
// since the platform started, those that ended and those that failed to start
// included, and the memory that they have now.
type Consumption struct {
	Function    lofn.Ref
	CPU         time.Duration
	MemoryBytes int64
}

// Meter adds up what replicas use. Its methods are safe for concurrent use.
type Meter struct {
	mu      sync.Mutex
	running map[*Metered]bool
	samples map[lofn.Ref]sample
	// spent is the CPU time of replicas that have ended.
	spent map[lofn.Ref]time.Duration
}

// Metered is a replica that a Meter reads.
type Metered struct {
	ref   lofn.Ref
	since time.Time
	read  func() (cpu time.Duration, memory int64)
	// cpu is the most CPU time that it was seen to have used.
	cpu time.Duration
}

// sample is what a function had consumed at a moment.
type sample struct {
	at    time.Time
	cpu   map[*Metered]time.Duration
	usage lofn.Usage
}

// A reading younger than this is given again: over a shorter time the share of
// a core would be noise.
const freshness = 500 * time.Millisecond

// NewMeter returns a Meter that has nothing to read.
func NewMeter() *Meter {
	return &Meter{running: make(map[*Metered]bool), samples: make(map[lofn.Ref]sample), spent: make(map[lofn.Ref]time.Duration)}
}

// Begin has a replica read, from now on. Read returns the CPU time that it has
// used, as far as is known while it runs, and the memory in bytes that it has.
func (m *Meter) Begin(ref lofn.Ref, read func() (cpu time.Duration, memory int64)) *Metered {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &Metered{ref: ref, since: time.Now(), read: read}
	m.running[r] = true
	return r
}

// End has the replica not be read any more. It used so much CPU time in all, or
// what it was seen to have used if that is more.
func (m *Meter) End(r *Metered, cpu time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.running, r)
	delete(m.samples, r.ref)
	m.spent[r.ref] += max(cpu, r.cpu)
}

// Spend adds the CPU time of what was never a replica.
func (m *Meter) Spend(ref lofn.Ref, cpu time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spent[ref] += cpu
}

// Forget drops what was counted for a function that was removed and of which
// nothing runs any more.
func (m *Meter) Forget(ref lofn.Ref) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.spent, ref)
}

// of returns the replicas of a function.
func (m *Meter) of(ref lofn.Ref) (list []*Metered) {
	for r := range m.running {
		if r.ref == ref {
			list = append(list, r)
		}
	}
	return list
}

// Usage returns what a function uses at the moment. CPU is the average since it
// was last asked for, the first time since each replica started.
func (m *Meter) Usage(ref lofn.Ref) lofn.Usage {
	now := time.Now()
	m.mu.Lock()
	last := m.samples[ref]
	replicas := m.of(ref)
	m.mu.Unlock()
	if now.Sub(last.at) < freshness {
		return last.usage
	}
	next := measure(replicas, last, now)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(replicas) == 0 {
		delete(m.samples, ref)
	} else {
		m.samples[ref] = next
	}
	return next.usage
}

// measure reads the replicas and compares them with the last time.
func measure(replicas []*Metered, last sample, now time.Time) sample {
	next := sample{at: now, cpu: make(map[*Metered]time.Duration)}
	for _, r := range replicas {
		cpu, memory := r.read()
		next.cpu[r] = cpu
		since, before := last.at, last.cpu[r]
		if since.Before(r.since) {
			since, before = r.since, 0
		}
		if spent := now.Sub(since); spent > 0 {
			next.usage.MilliCPU += 1000 * max(0, float64(cpu-before)/float64(spent))
		}
		next.usage.MemoryBytes += float64(memory)
	}
	return next
}

// Consumption returns what each function consumed that has or had a replica.
// Between calls of it nothing is measured.
func (m *Meter) Consumption() []Consumption {
	m.mu.Lock()
	replicas := slices.Collect(maps.Keys(m.running))
	m.mu.Unlock()
	seen := make(map[*Metered]time.Duration)
	memory := make(map[lofn.Ref]int64)
	for _, r := range replicas {
		cpu, bytes := r.read()
		seen[r] = cpu
		memory[r.ref] += bytes
	}
	totals := m.charge(seen)
	list := make([]Consumption, 0, len(totals))
	for ref, cpu := range totals {
		list = append(list, Consumption{Function: ref, CPU: cpu, MemoryBytes: memory[ref]})
	}
	return list
}

// charge takes in how much CPU time replicas were seen to have used, and
// returns the time of each function. No time ever decreases, though a replica's
// may: the kernel forgets processes for which nobody waited.
func (m *Meter) charge(seen map[*Metered]time.Duration) map[lofn.Ref]time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	for r, cpu := range seen {
		r.cpu = max(r.cpu, cpu)
	}
	totals := maps.Clone(m.spent)
	for r := range m.running {
		totals[r.ref] += r.cpu
	}
	return totals
}
