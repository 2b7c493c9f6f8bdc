package gateway

import (
	"container/heap"
	"time"
)

// timer calls fire at a time that can be changed often: a later time costs
// nothing, since the entry in the heap stays where it is until it comes up.
type timer struct {
	fire func()
	due  time.Time // zero for never
	at   time.Time // where it is in the heap
	slot int       // in the heap, from 1; 0 if it is not there
}

// timers is the heap of a loop's timers.
type timers []*timer

// set has the timer fire at due, not before; zero stops it.
func (h *timers) set(t *timer, due time.Time) {
	t.due = due
	switch {
	case due.IsZero():
	case t.slot == 0:
		t.at = due
		heap.Push(h, t)
	case due.Before(t.at):
		t.at = due
		heap.Fix(h, t.slot-1)
	}
}

// drop takes the timer out for good.
func (h *timers) drop(t *timer) {
	t.due = time.Time{}
	if t.slot > 0 {
		heap.Remove(h, t.slot-1)
	}
}

// next is the time to call expire, zero if there is none.
func (h timers) next() time.Time {
	if len(h) == 0 {
		return time.Time{}
	}
	return h[0].at
}

// expire fires what is due.
func (h *timers) expire(now time.Time) {
	for len(*h) > 0 && !(*h)[0].at.After(now) {
		t := (*h)[0]
		switch {
		case t.due.After(now):
			t.at = t.due
			heap.Fix(h, 0)
		case t.due.IsZero():
			heap.Pop(h)
		default:
			heap.Pop(h)
			t.fire()
		}
	}
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i+1, j+1
}

func (h *timers) Push(x any) {
	*h = append(*h, x.(*timer))
	x.(*timer).slot = len(*h)
}

func (h *timers) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.slot = 0
	return t
}
