package simulate

import (
	"cmp"
	"slices"

	"lofn"
)

// need is what a replica takes of its node.
type need struct{ memory, cpu int64 }

// need is what a replica of the function takes: what the trace says, or what it
// asks for, or what it is limited to, or what is usual.
func (s *simulation) need(fn lofn.Function, traced Function) (need, error) {
	n := need{memory: traced.Memory}
	for _, r := range []*lofn.Resources{fn.Spec.Requests, fn.Spec.Limits} {
		memory, err := r.MemoryBytes()
		if err != nil {
			return n, err
		}
		cpu, err := r.MilliCPU()
		if err != nil {
			return n, err
		}
		n = need{cmp.Or(n.memory, memory), cmp.Or(n.cpu, cpu)}
	}
	n = need{cmp.Or(n.memory, s.Memory), cmp.Or(n.cpu, s.MilliCPU)}
	return n, s.nodes.could(fn.Ref, n)
}

// could reports why no node could ever have room for a replica.
func (n *nodes) could(ref lofn.Ref, want need) error {
	switch {
	case !n.bounded():
	case want.memory > n.size.memory:
		return lofn.Errorf(lofn.Invalid, "function %s: a replica needs %d MiB of memory, and a node has %d: use larger nodes", ref, want.memory>>20, n.size.memory>>20)
	case want.cpu > n.size.cpu:
		return lofn.Errorf(lofn.Invalid, "function %s: a replica needs %dm CPU, and a node has %dm: use larger nodes", ref, want.cpu, n.size.cpu)
	}
	return nil
}

// node is a machine with what is left of it.
type node struct{ left need }

func (n *node) fits(want need) bool { return want.memory <= n.left.memory && want.cpu <= n.left.cpu }

// nodes are all machines, and the replicas for which none has room.
type nodes struct {
	size need
	all  []*node
	// somewhere is where replicas are if there is no bound.
	somewhere *node
	// queues hold those that wait, the oldest first, for each need.
	queues []*queue
	queued uint64
}

// queue holds replicas with the same need.
type queue struct {
	need    need
	waiting []ticket
}

// ticket is a place in the order of all queues.
type ticket struct {
	number  uint64
	replica *replica
}

func newNodes(c Nodes) *nodes {
	n := &nodes{size: need{cmp.Or(c.Memory, 1<<62), cmp.Or(c.MilliCPU, 1<<62)}, somewhere: &node{}}
	for range c.Count {
		n.all = append(n.all, &node{left: n.size})
	}
	return n
}

func (n *nodes) bounded() bool { return len(n.all) > 0 }

// place finds a node for the replica, the one with the most memory left, or has
// it wait for one.
func (n *nodes) place(r *replica) bool {
	if !n.bounded() {
		r.node = n.somewhere
		return true
	}
	want := r.function.need
	var best *node
	for _, candidate := range n.all {
		if candidate.fits(want) && (best == nil || candidate.left.memory > best.left.memory) {
			best = candidate
		}
	}
	if best == nil {
		n.wait(r, want)
		return false
	}
	best.take(r)
	return true
}

func (n *node) take(r *replica) {
	want := r.function.need
	n.left = need{n.left.memory - want.memory, n.left.cpu - want.cpu}
	r.node = n
}

func (n *nodes) wait(r *replica, want need) {
	i := slices.IndexFunc(n.queues, func(q *queue) bool { return q.need == want })
	if i < 0 {
		i = len(n.queues)
		n.queues = append(n.queues, &queue{need: want})
	}
	n.queued++
	n.queues[i].waiting = append(n.queues[i].waiting, ticket{n.queued, r})
}

// forget is for a replica that waits no longer.
func (n *nodes) forget(r *replica) {
	for _, q := range n.queues {
		q.waiting = slices.DeleteFunc(q.waiting, func(t ticket) bool { return t.replica == r })
	}
}

// free takes a replica from its node, and returns those that find room there now.
func (n *nodes) free(r *replica) (placed []*replica) {
	node, had := r.node, r.function.need
	if !n.bounded() {
		return nil
	}
	node.left = need{node.left.memory + had.memory, node.left.cpu + had.cpu}
	for {
		q := n.oldest(node)
		if q == nil {
			return placed
		}
		next := q.waiting[0].replica
		q.waiting = q.waiting[1:]
		node.take(next)
		placed = append(placed, next)
	}
}

// oldest is the queue of the replica that has waited longest of those that fit.
func (n *nodes) oldest(on *node) (oldest *queue) {
	for _, q := range n.queues {
		if len(q.waiting) > 0 && on.fits(q.need) && (oldest == nil || q.waiting[0].number < oldest.waiting[0].number) {
			oldest = q
		}
	}
	return oldest
}
