package simulate

import (
	"math"
	"time"
)

// waits counts waits by their length, to about two percent.
type waits struct {
	counts []uint32
	n      uint64
	max    time.Duration
}

const (
	// steps is into how many classes a doubling of a wait is divided.
	steps = 32
	// shortest waits are in the first class, as are all that are shorter.
	shortest = time.Microsecond
)

func (w *waits) add(d time.Duration) {
	class := 0
	if d > shortest {
		class = int(math.Log2(float64(d)/float64(shortest)) * steps)
	}
	for len(w.counts) <= class {
		w.counts = append(w.counts, 0)
	}
	w.counts[class]++
	w.n++
	w.max = max(w.max, d)
}

// percentile is how long the longest wait of a part of all calls was, those
// that did not wait included.
func (w *waits) percentile(part float64, calls uint64) time.Duration {
	rank := uint64(math.Ceil(part * float64(calls)))
	passed := calls - w.n // did not wait
	if rank <= passed {
		return 0
	}
	for class, count := range w.counts {
		if passed += uint64(count); passed >= rank {
			middle := math.Exp2((float64(class) + 0.5) / steps)
			return min(w.max, time.Duration(middle*float64(shortest)))
		}
	}
	return w.max
}

// figures are what is counted for each function.
type figures struct {
	calls, begun, ended, refused, cold, late uint64
	changes, flaps, starts, delayed          uint64
	waits                                    waits
	// lived is the time of all replicas that are gone, busy that of all calls.
	lived, busy time.Duration
}

// begins counts a call that gets its replica.
func (f *figures) begins(waited time.Duration, fresh bool, takes, timeout time.Duration) {
	f.begun++
	f.busy += takes
	if waited <= 0 {
		return
	}
	f.waits.add(waited)
	if fresh {
		f.cold++
	}
	if timeout > 0 && takes <= timeout && waited+takes > timeout {
		f.late++
	}
}

// Point is the state at the end of a part of the simulated time.
type Point struct {
	At time.Duration `json:"at"`
	// Calls came for each second of the part.
	Calls float64 `json:"callsPerSecond"`
	// Wanted, Replicas and Ready are counts of replicas: decided, taking memory,
	// and taking calls.
	Wanted   int `json:"wanted"`
	Replicas int `json:"replicas"`
	Ready    int `json:"ready"`
	InFlight int `json:"inFlight"`
	// Waiting is the most that waited at any moment of the part.
	Waiting int `json:"waiting"`
}

// recorder follows the numbers of all functions together.
type recorder struct {
	now time.Duration

	calls                   uint64
	waiting, inFlight       int
	wanted, ready, replicas int
	memory                  int64
	mostWaiting, peak       int
	peakMemory              int64
	replicaTime, memoryTime float64 // seconds, byte seconds
	waits                   waits
	points                  []Point
	step, next              time.Duration
	callsBefore             uint64
}

func newRecorder(length time.Duration, points int) recorder {
	step := (length / time.Duration(points)).Round(time.Millisecond)
	step = max(step, time.Millisecond)
	return recorder{step: step, next: step}
}

// occupied notes that replicas take places on nodes, or leave them.
func (r *recorder) occupied(replicas int, memory int64) {
	r.replicas += replicas
	r.memory += memory
	r.peak = max(r.peak, r.replicas)
	r.peakMemory = max(r.peakMemory, r.memory)
}

// advance moves on to a time, at which things are not as they were.
func (r *recorder) advance(to time.Duration) {
	r.mostWaiting = max(r.mostWaiting, r.waiting)
	seconds := (to - r.now).Seconds()
	r.replicaTime += seconds * float64(r.replicas)
	r.memoryTime += seconds * float64(r.memory)
	r.now = to
	for ; r.next <= to; r.next += r.step {
		r.point()
	}
}

func (r *recorder) point() {
	r.points = append(r.points, Point{
		At: r.next, Calls: float64(r.calls-r.callsBefore) / r.step.Seconds(),
		Wanted: r.wanted, Replicas: r.replicas, Ready: r.ready, InFlight: r.inFlight, Waiting: r.mostWaiting,
	})
	r.callsBefore, r.mostWaiting = r.calls, r.waiting
}
