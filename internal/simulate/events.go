package simulate

import (
	"math"
	"time"

	"lofn"
)

// never is later than everything.
const never = time.Duration(math.MaxInt64)

// event is the end of a call, or that a replica gets ready.
type event struct {
	at time.Duration
	// number orders events of the same time as they were planned.
	number  uint64
	replica *replica
	lease   lofn.Lease // nil if the replica gets ready
}

func (e *event) before(other *event) bool {
	return e.at < other.at || e.at == other.at && e.number < other.number
}

// events is a heap. container/heap would make an allocation of each event.
type events struct {
	heap    []event
	planned uint64
}

// next is when the first event is.
func (q *events) next() time.Duration {
	if len(q.heap) == 0 {
		return never
	}
	return q.heap[0].at
}

func (q *events) push(e event) {
	q.planned++
	e.number = q.planned
	q.heap = append(q.heap, e)
	i := len(q.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !e.before(&q.heap[parent]) {
			break
		}
		q.heap[i] = q.heap[parent]
		i = parent
	}
	q.heap[i] = e
}

func (q *events) pop() event {
	first := q.heap[0]
	last := len(q.heap) - 1
	e := q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	if last > 0 {
		q.sink(e)
	}
	return first
}

// sink puts an event in the place of the first.
func (q *events) sink(e event) {
	i := 0
	for {
		child := 2*i + 1
		if child >= len(q.heap) {
			break
		}
		if right := child + 1; right < len(q.heap) && q.heap[right].before(&q.heap[child]) {
			child = right
		}
		if !q.heap[child].before(&e) {
			break
		}
		q.heap[i] = q.heap[child]
		i = child
	}
	q.heap[i] = e
}
