package pool

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"lofn"
)

// queue holds the calls of one function that wait for a free replica, first
// come first served. Its function's lock guards it.
type queue struct {
	waiters list.List // of *waiter
	// refused counts the calls for which there was no room.
	refused uint64

	// passed counts the calls that ended. marked is how many they were at
	// since, and pace how many ended in a second before that.
	passed, marked uint64
	since          time.Time
	pace           float64
}

// waiter is one call in a queue.
type waiter struct {
	// turn is called once when the wait is over, with the function's lock held.
	turn  func(turn)
	since time.Time
	place *list.Element // nil once the turn came
}

// turn is how a wait ends.
type turn struct {
	lease *lease
	err   error
}

func (q *queue) waiting() int { return q.waiters.Len() }

func (q *queue) push(w *waiter, first bool) {
	if q.waiting() == 0 {
		q.marked, q.since, q.pace = q.passed, w.since, 0
	}
	if first {
		w.place = q.waiters.PushFront(w)
	} else {
		w.place = q.waiters.PushBack(w)
	}
}

// pop gives the first its turn.
func (q *queue) pop(t turn) {
	w := q.waiters.Remove(q.waiters.Front()).(*waiter)
	w.place = nil
	w.turn(t)
}

// dismiss ends all waits with the error.
func (q *queue) dismiss(err error) {
	for q.waiting() > 0 {
		q.pop(turn{err: err})
	}
}

// paceTime is how long the pace is measured before it counts.
const paceTime = time.Second

// longestRetry bounds what a refused call is told to wait.
const longestRetry = time.Hour

// drained estimates how long it takes until those who wait now had their turn,
// from how fast calls ended lately; 0 if that is not known.
func (q *queue) drained(now time.Time) time.Duration {
	if age := now.Sub(q.since); age >= paceTime {
		q.pace = float64(q.passed-q.marked) / age.Seconds()
		q.marked, q.since = q.passed, now
	}
	if q.pace == 0 {
		return 0
	}
	seconds := min(float64(q.waiting())/q.pace, longestRetry.Seconds())
	return time.Duration(math.Ceil(seconds)) * time.Second
}

// enter returns a lease if a replica is free; else the call's turn comes later,
// unless it is no use to wait: the error says why. A call that comes again goes
// before all others and needs no room.
func (f *function) enter(again bool, w *waiter) (*lease, error) {
	f.mu.Lock()
	l, err := f.admit(again, w)
	news := !again && lofn.CodeOf(err) != lofn.NotFound && f.count()
	f.mu.Unlock()
	if news {
		f.config.Poke(f.ref)
	}
	return l, err
}

func (f *function) admit(again bool, w *waiter) (*lease, error) {
	if f.gone {
		return nil, notFound(f.ref)
	}
	if again || f.queue.waiting() == 0 {
		if l := f.next(); l != nil {
			return l, nil
		}
	}
	if f.broken() {
		return nil, cannotStart(f.ref)
	}
	w.since = f.config.Now()
	if !again && f.queue.waiting() >= f.policy.Load().MaxQueue {
		f.queue.refused++
		return nil, f.full(w.since)
	}
	f.queue.push(w, again)
	return nil, nil
}

// leave ends a wait whose context ended, and returns why. A lease that came
// at that moment goes to the next.
func (f *function) leave(ctx context.Context, w *waiter, came <-chan turn) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.place != nil {
		f.queue.waiters.Remove(w.place)
	} else if t := <-came; t.lease != nil {
		f.end(t.lease)
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	waited := f.config.Now().Sub(w.since).Round(time.Millisecond)
	if n, _ := f.capacity(); n > 0 {
		return lofn.Errorf(lofn.DeadlineExceeded,
			"function %s: the call's time ran out while it waited for a free replica, for %v: more replicas, or a higher %s, would shorten that",
			f.ref, waited, lofn.EnvMaxInflight)
	}
	return lofn.Errorf(lofn.DeadlineExceeded,
		"function %s: the call's time ran out while it waited for a replica to become ready, for %v; lofn describe %s says why",
		f.ref, waited, f.ref.Name)
}

// capacity returns how many replicas take calls, and how many calls in all.
func (f *function) capacity() (replicas, calls int) {
	for _, m := range f.members {
		if m.usable {
			replicas++
			calls += min(m.limit, math.MaxInt32)
		}
	}
	return replicas, calls
}

// full is the error of a call that found no room to wait in.
func (f *function) full(now time.Time) error {
	retry := max(f.queue.drained(now), time.Second)
	state := "no ready replica"
	if replicas, calls := f.capacity(); replicas > 0 {
		state = fmt.Sprintf("all %d calls that it takes at a time (%s; ready replicas: %d)", calls, lofn.EnvMaxInflight, replicas)
	}
	return &lofn.Error{
		Code: lofn.Overloaded, RetryAfter: retry,
		Text: fmt.Sprintf("function %s has %s, and the %d calls that may wait (%s): call again in %v, or have a limit raised",
			f.ref, state, f.queue.waiting(), lofn.AnnotationMaxQueue, retry),
	}
}
