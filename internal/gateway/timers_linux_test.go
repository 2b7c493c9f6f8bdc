package gateway

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestTimersFireInTheirTime sets, moves and stops timers at random, and holds
// them to a plain list.
func TestTimersFireInTheirTime(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	begin := time.Unix(1e9, 0)
	after := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	var h timers
	var fired []int
	all, due := make([]*timer, 50), make([]int, 50) // 0 is never
	for i := range all {
		all[i] = &timer{fire: func() { fired = append(fired, i) }}
	}
	for now := 1; now < 3000; now++ {
		i := random.IntN(len(all))
		switch random.IntN(4) {
		case 0:
			due[i] = 0
			h.set(all[i], time.Time{})
		case 1:
			due[i] = 0
			h.drop(all[i])
		default:
			due[i] = now + random.IntN(200)
			h.set(all[i], after(due[i]))
		}
		var want []int
		for i, at := range due {
			if at > 0 && at <= now {
				want, due[i] = append(want, i), 0
			}
		}
		fired = nil
		h.expire(after(now))
		slices.Sort(fired)
		if !slices.Equal(fired, want) {
			t.Fatalf("at %d: fired %v, want %v", now, fired, want)
		}
		if next := h.next(); len(h) > 0 && !next.After(after(now)) {
			t.Fatalf("at %d: the next is due at %v", now, next)
		}
	}
}
