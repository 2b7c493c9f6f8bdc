package queue

import "math"

const (
	// perReplica is how many calls a replica gets at a time whose function does
	// not say how many it takes: max_inflight in the chart of OpenFaaS.
	perReplica = 50
	// opening is what it gets at first, and what a function without a replica
	// gets, so that one is started.
	opening = 8
)

// window is how many calls a function gets at a time. It goes by what the
// function says of itself and by how it answers: while all goes well it gets
// more and more, up to what its replicas take; if it is too much for them, half
// of what it had. TCP finds out in this way what a network takes.
type window struct {
	// size is 0 as long as nothing but the replicas bounds it.
	size float64
	// slow is the size from which on it grows slowly, 0 for none.
	slow float64
	// round counts how often it was halved. What comes of calls that were made
	// before is old news.
	round int
}

// capacity is how many calls a function takes at a time, where limit is what it
// says of a replica, 0 if nothing.
func capacity(limit, replicas int) int {
	switch {
	case replicas == 0 && limit == 0:
		return opening
	case replicas == 0:
		return min(limit, opening)
	case limit == 0:
		return perReplica * replicas
	}
	return min(limit, math.MaxInt32) * replicas
}

// allows is how many calls the function may have, where others have calls of
// it too. One may always wait for its turn.
func (w *window) allows(limit, replicas, others int) int {
	if limit == 0 && w.size == 0 {
		w.size = opening * float64(max(replicas, 1))
	}
	most := capacity(limit, replicas) - others
	if w.size > 0 {
		most = min(most, int(w.size))
	}
	return max(most, 1)
}

// grow is about a call that went well while there was no room for more.
func (w *window) grow(limit, replicas int) {
	most := float64(capacity(limit, replicas))
	switch {
	case w.size == 0:
	case w.slow > 0 && w.size >= w.slow:
		w.size = min(w.size+1/w.size, max(most, w.size))
	default:
		w.size = min(w.size+1, max(most, w.size))
	}
}

// cut is about a call of the given round that was too much, under being the
// calls that the function had. It reports whether there is nothing left to cut.
func (w *window) cut(round, under int) (least bool) {
	if round != w.round {
		return false
	}
	had := float64(under)
	if w.size > 0 {
		had = min(w.size, had)
	}
	w.size = max(had/2, 1)
	w.slow = w.size
	w.round++
	return had <= 1
}
