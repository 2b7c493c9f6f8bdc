// Package scale decides how many replicas each function has. Decide is the
// decision, a function of its arguments alone; Scaler asks the pool how busy
// functions are, at the moments when an answer could differ, and has the
// reconciler carry out what Decide says.
package scale

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"lofn"
)

// Load is what is known about a function at the moment of a decision.
type Load struct {
	lofn.Load
	// Wanted is the last decision, Base the count that a person or a deployment
	// last set, and Asked the least that alerts ask for.
	Wanted, Base, Asked int
	// Called says that there are calls, or were since the last decision, and
	// Busy when there last were.
	Called bool
	Busy   time.Time
	// Warm says that the function stays where it is awake, though nobody calls.
	Warm bool
	// Known says that Averages are. They are the load of all replicas in the
	// unit of the scaling type, each over the latest time of the Spans.
	Known    bool
	Averages [len(Spans)]float64
	// Burst says that a decision was about a burst a moment ago.
	Burst bool
	// Peak is the highest Advice of the decisions in the down window.
	Peak int
}

// Decision is how many replicas a function shall have.
type Decision struct {
	Replicas int
	// Advice is what the load alone would need, without regard to what was
	// needed a moment ago.
	Advice int
	// Burst says that the load is so far beyond what the replicas are planned
	// with that from now on the shortest of the Spans is believed.
	Burst bool
	// Load is the figure that the advice is about.
	Load   float64
	Reason string
}

// Span is a time over which a load is averaged.
type Span struct {
	Time time.Duration
	// Excess is by how many times the load must be beyond what the replicas are
	// planned with to count: the shorter the time, the more of what is seen is
	// chance.
	Excess float64
}

// Spans are from the one that notices a burst to the one that follows a trend.
// The last one is as long as the rate in OpenFaaS' recording rules; that a
// short one counts from twice the target on, and is believed for a while then,
// is as in Knative's panic mode (knative.dev/serving, pkg/autoscaler/scaling).
var Spans = [...]Span{
	{Time: time.Second, Excess: 2},
	{Time: 6 * time.Second, Excess: 1.25},
	{Time: 30 * time.Second, Excess: 1},
}

// slack is the part of what a smaller number of replicas is planned with that
// has to suffice before there are fewer, so that a load between two counts does
// not make them go back and forth.
const slack = 0.9

// Decide returns how many replicas the function shall have. A load that is not
// known leaves it at what it has.
func Decide(now time.Time, l Load, s lofn.Scaling) Decision {
	floor := l.floor(s)
	if d, resting := l.rest(now, s, floor); resting {
		return d
	}
	d := l.byLoad(s, floor)
	if l.Failing && d.Replicas > max(l.Wanted, floor) {
		d.Replicas = max(l.Wanted, floor)
		d.Reason = "more would not help: none gets ready"
	}
	if l.Asked > d.Replicas {
		d.Replicas, d.Reason = l.Asked, "an alert asks for them"
	}
	return d.within(floor, s)
}

// floor is the least number while the function is not at zero.
func (l Load) floor(s lofn.Scaling) int {
	if s.Type == "" && l.Base > 0 {
		return l.Base
	}
	return max(s.Min, 1)
}

// rest is about going to zero, and staying there.
func (l Load) rest(now time.Time, s lofn.Scaling, floor int) (Decision, bool) {
	called := l.Called || s.Query != "" && l.Known && l.Averages[0] > 0
	switch {
	case l.Wanted == 0 && !called && l.Asked == 0 && (!l.Warm || s.Min == 0):
		return Decision{Reason: "at zero until it is called"}, true
	case l.Wanted == 0 && !called && l.Warm:
		return Decision{Replicas: floor, Reason: "kept warm at this time (" + lofn.AnnotationWarm + ")"}, true
	case l.Wanted > 0 && s.Zero && !called && !l.Warm && now.Sub(l.Busy) >= s.ZeroDuration:
		return Decision{Reason: fmt.Sprintf("no call for %v (%s)", s.ZeroDuration, lofn.LabelScaleZeroDuration)}, true
	}
	return Decision{}, false
}

// byLoad is what the load wants, and what it wanted a moment ago.
func (l Load) byLoad(s lofn.Scaling, floor int) Decision {
	switch {
	case s.Type == "" && l.Wanted == 0:
		return Decision{Replicas: floor, Reason: "woken by a call"}
	case s.Type == "":
		return Decision{Replicas: floor, Reason: "as set: it is not scaled by load"}
	case !l.Known:
		return Decision{Replicas: max(l.Wanted, floor), Advice: l.Wanted, Reason: "as before: its load is not known"}
	}
	d := l.advise(s)
	if l.Wanted == 0 {
		d.Reason = "woken by a call: " + d.Reason
	}
	d.Replicas = d.Advice
	if d.Advice < l.Wanted {
		d.Replicas = min(l.Wanted, max(d.Advice, l.Peak))
	}
	if d.Replicas > max(d.Advice, floor) {
		d.Reason = fmt.Sprintf("%s; %d were needed within the last %v", d.Reason, d.Replicas, s.DownWindow)
	}
	return d
}

// advise compares the load with what the replicas are planned with.
func (l Load) advise(s lofn.Scaling) Decision {
	per := s.PerReplica()
	planned := per * float64(l.Wanted)
	up, need, load := 0, 0.0, l.Averages[len(Spans)-1]
	burst := l.Averages[0]/Spans[0].Excess > planned
	for i, span := range Spans {
		counts := l.Averages[i] / span.Excess
		need = max(need, counts)
		if l.Burst && i == 0 || l.Waiting > 0 {
			counts = l.Averages[i] // calls that wait are no chance
		}
		if counts > planned && replicas(l.Averages[i], per) > up {
			up, load = replicas(l.Averages[i], per), l.Averages[i]
		}
	}
	// Calls that wait are there, however short the time.
	if calls := float64(l.Calls()); s.Type == lofn.ScaleByCapacity && l.Waiting > 0 && calls > planned {
		up, load = max(up, replicas(calls, per)), max(load, calls)
	}
	d := Decision{Advice: up, Burst: burst, Load: load, Reason: fmt.Sprintf("load %s, %s planned for each replica", figure(load, s.Type), figure(per, s.Type))}
	if up == 0 {
		d.Advice = min(l.Wanted, replicas(need, per*slack))
	}
	return d
}

// replicas is how many a load needs, at a load of per for each.
func replicas(load, per float64) int {
	return int(min(math.Ceil(load/per), math.MaxInt32))
}

// within keeps a decision inside of its bounds.
func (d Decision) within(floor int, s lofn.Scaling) Decision {
	most := max(s.Most(), floor)
	switch {
	case d.Replicas < floor:
		d.Replicas = floor
	case d.Replicas > most:
		d.Reason += fmt.Sprintf("; %d would be needed, %d is the most (%s)", d.Replicas, most, lofn.LabelScaleMax)
		d.Replicas = most
	}
	return d
}

// figure writes a load for people.
func figure(load float64, t lofn.ScaleType) string {
	switch t {
	case lofn.ScaleByRequests:
		return short(load) + " calls/s"
	case lofn.ScaleByCapacity:
		return short(load) + " calls at a time"
	case lofn.ScaleByQueue:
		return short(load) + " calls queued or running"
	case lofn.ScaleByCPU:
		return short(load) + "m CPU"
	case lofn.ScaleByMemory:
		return short(load/(1<<20)) + " MiB"
	}
	return short(load)
}

// short has at most three digits that count, and no exponent.
func short(f float64) string {
	if f >= 100 {
		return strconv.FormatFloat(math.Round(f), 'f', -1, 64)
	}
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 3, 64), 64)
	return strconv.FormatFloat(rounded, 'f', -1, 64)
}
