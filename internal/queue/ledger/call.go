package ledger

import (
	"time"

	"lofn"
)

// call is what is known of a call without looking it up in the log.
type call struct {
	id       string
	function *function
	state    lofn.CallState
	accepted int64
	// standing is how far it has come while it has no outcome. The attempts go
	// on counting after that.
	standing standing
	// request is where its accepted entry is, outcome where its settled one.
	// What has a place is live: its record is not trimmed.
	request, outcome place
	// lease is who has it, or its callback, nil if nobody.
	lease *worker
	// notice is about its callback, nil if it has none.
	notice *notice
	// body and result name blobs, "" if there are none.
	body, result string
	// key is what makes a repeated submit the same call, "" for nothing.
	key   string
	print uint64
	// expires is when its outcome is forgotten, 0 for never.
	expires int64
	// index is where it is in its lane's heap, -1 while it is in none.
	index int
}

// due is when the next delivery of the call, or of its callback, may be made.
func (c *call) due() int64 {
	if c.state.Final() {
		return c.notice.due
	}
	return c.standing.due
}

// before orders the calls of a lane: of those that are due at the same time, the
// one that was accepted, or ended, first.
func (c *call) before(other *call) bool {
	if a, b := c.due(), other.due(); a != b {
		return a < b
	}
	a, b := c.request, other.request
	if c.state.Final() {
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
	l.calls[i].index, l.calls[j].index = i, j
}

// Push implements heap.Interface.
func (l *lane) Push(c any) {
	c.(*call).index = len(l.calls)
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
	// calls counts those that are known.
	calls int
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

// oldest is when the oldest of the calls that wait was accepted, 0 for none.
func (f *function) oldest() (at int64) {
	for _, c := range f.lanes[0].calls {
		if at == 0 || c.accepted < at {
			at = c.accepted
		}
	}
	return at
}

// worker is a process that works on the queue.
type worker struct {
	name  string
	calls map[*call]struct{}
	// heard is when a record of it was last read, by this process's clock: the
	// clocks of others do not matter.
	heard time.Time
}
