package ledger

import (
	"slices"
	"time"

	"lofn"
)

// call is what is known of a call without looking it up in the log. There may be
// a million, so what few have is elsewhere.
type call struct {
	id       string
	function *function
	// request is where its accepted entry is, outcome where its settled one.
	// What has a place is live: its record is not trimmed.
	request, outcome place
	// lease is who has it, or its callback, nil if nobody.
	lease *worker
	// rare is nil for most, see more.
	rare *rare
	// next is when the next attempt is due, while it has no outcome, and started
	// when the latest began.
	accepted, next, started int64
	// expires is when its outcome is forgotten, 0 for never.
	expires  int64
	attempts uint32
	// index is where it is in its lane's heap, -1 while it is in none.
	index int32
	stage stage
	// stop says that somebody called it off.
	stop bool
}

// stage is a state of a call, by its place among lofn.CallStates.
type stage uint8

// stageOf returns the stage with the name. One that is unknown is from a later
// lofn, and an outcome.
func stageOf(state lofn.CallState) stage {
	if i := slices.Index(lofn.CallStates[:], state); i >= 0 {
		return stage(i)
	}
	return stageOf(lofn.CallFailed)
}

func (c *call) state() lofn.CallState { return lofn.CallStates[c.stage] }

// rare is what few calls have.
type rare struct {
	// notice is about its callback, nil if it has none.
	notice *notice
	// body and result name blobs, "" if there are none.
	body, result string
	// key is what makes a repeated submit the same call, "" for nothing.
	key   string
	print uint64
	// status and reason tell how the latest attempt failed.
	status int
	reason string
	// refusals counts the attempts that were none, since a time.
	refusals     uint64
	refusedSince int64
}

// known is what there is of what few calls have.
func (c *call) known() rare {
	if c.rare == nil {
		return rare{}
	}
	return *c.rare
}

// more is where to write it.
func (c *call) more() *rare {
	if c.rare == nil {
		c.rare = new(rare)
	}
	return c.rare
}

// notice is about the call's callback, nil if it has none.
func (c *call) notice() *notice {
	if c.rare == nil {
		return nil
	}
	return c.rare.notice
}

// due is when the next delivery of the call, or of its callback, may be made.
func (c *call) due() int64 {
	if c.state().Final() {
		return c.rare.notice.due
	}
	return c.next
}

// before orders the calls of a lane: of those that are due at the same time, the
// one that was accepted, or ended, first.
func (c *call) before(other *call) bool {
	if a, b := c.due(), other.due(); a != b {
		return a < b
	}
	a, b := c.request, other.request
	if c.state().Final() {
		a, b = c.outcome, other.outcome
	}
	return a.record < b.record || a.record == b.record && a.offset < b.offset
}

// lane is a heap of calls, the one that is due next first.
type lane struct {
	lofn.Lane
	calls []*call
	// alarm is the lane's place among the alarms, -1 for none.
	alarm int
}

func (l *lane) Len() int           { return len(l.calls) }
func (l *lane) Less(i, j int) bool { return l.calls[i].before(l.calls[j]) }

func (l *lane) Swap(i, j int) {
	l.calls[i], l.calls[j] = l.calls[j], l.calls[i]
	l.calls[i].index, l.calls[j].index = int32(i), int32(j)
}

// Push implements heap.Interface.
func (l *lane) Push(c any) {
	c.(*call).index = int32(len(l.calls))
	l.calls = append(l.calls, c.(*call))
}

// Pop implements heap.Interface.
func (l *lane) Pop() any {
	last := len(l.calls) - 1
	c := l.calls[last]
	l.calls[last] = nil
	l.calls, c.index = l.calls[:last], -1
	return c
}

// alarms is a heap of lanes that have nothing due yet, the earliest first.
type alarms []*lane

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].calls[0].due() < a[j].calls[0].due() }

func (a alarms) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].alarm, a[j].alarm = i, j
}

// Push implements heap.Interface.
func (a *alarms) Push(l any) {
	l.(*lane).alarm = len(*a)
	*a = append(*a, l.(*lane))
}

// Pop implements heap.Interface.
func (a *alarms) Pop() any {
	last := len(*a) - 1
	l := (*a)[last]
	(*a)[last] = nil
	*a, l.alarm = (*a)[:last], -1
	return l
}

// function is what there is of one function.
type function struct {
	ref    lofn.Ref
	lanes  [2]lane // of its calls, and of their callbacks
	counts lofn.QueueCounts
	// old is what oldest said last, and asked when.
	old   int64
	asked time.Time
}

func newFunction(ref lofn.Ref) *function {
	f := &function{ref: ref}
	f.counts.Function = ref.Host()
	for i := range f.lanes {
		f.lanes[i] = lane{Lane: lofn.Lane{Function: ref, Callback: i == 1}, alarm: -1}
	}
	return f
}

func (f *function) lane(callback bool) *lane {
	if callback {
		return &f.lanes[1]
	}
	return &f.lanes[0]
}

// oldestAge is how old what is known of the oldest call may be. To find it out
// takes a look at all that wait.
const oldestAge = time.Second

// oldest is when the oldest of the calls that wait was accepted, 0 for none, as
// of a moment ago.
func (f *function) oldest(now time.Time) int64 {
	calls := f.lanes[0].calls
	if len(calls) > 0 && now.Sub(f.asked) < oldestAge {
		return f.old
	}
	f.old, f.asked = 0, now
	for _, c := range calls {
		if f.old == 0 || c.accepted < f.old {
			f.old = c.accepted
		}
	}
	return f.old
}

// worker is a process that works on the queue.
type worker struct {
	name  string
	calls map[*call]struct{}
	// heard is when a record of it was last read, by this process's clock: the
	// clocks of others do not matter.
	heard time.Time
}
