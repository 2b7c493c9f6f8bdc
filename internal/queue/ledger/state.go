package ledger

import (
	"container/heap"
	"time"

	"lofn"
)

// state is what the log says, as far as it was read. Only the committer changes
// it, with Ledger.mu held.
type state struct {
	limits    lofn.QueueLimits
	calls     map[string]*call
	functions map[lofn.Ref]*function
	// keys finds calls by what makes a repeated submit the same one.
	keys    map[string]*call
	workers map[string]*worker
	alarms  alarms
	records records
	// open counts the calls without an outcome.
	open int
	// kept and dead are the calls that have theirs, in the order in which they
	// are forgotten.
	kept, dead endings
	// due are the lanes in which something has become due, for whoever waits for
	// that, and garbage the blobs that nothing refers to any more.
	due     map[*lane]struct{}
	garbage []string
	// mine are the deliveries that this process has leased.
	mine map[*call]*delivery
}

func newState(limits lofn.QueueLimits) *state {
	return &state{
		limits: limits, mine: make(map[*call]*delivery),
		calls: make(map[string]*call), functions: make(map[lofn.Ref]*function), keys: make(map[string]*call),
		workers: make(map[string]*worker), due: make(map[*lane]struct{}),
	}
}

// apply takes in an entry. It is the same for what this process wrote and for
// what it read.
func (s *state) apply(e entry, at place) {
	switch e := e.(type) {
	case *accepted:
		s.accept(e, at)
	case *leased:
		s.lease(e)
	case *retried:
		s.retry(e)
	case *settled:
		s.settle(e, at)
	case *notified:
		s.notify(e)
	case *stopped:
		s.stop(e)
	case *redriven:
		s.redrive(e)
	case *dropped:
		if c := s.calls[e.id]; c != nil {
			s.remove(c)
		}
	case *voided:
		s.void(e)
	}
}

func (s *state) function(ref lofn.Ref) *function {
	f := s.functions[ref]
	if f == nil {
		f = newFunction(ref)
		s.functions[ref] = f
	}
	return f
}

func (s *state) worker(name string) *worker {
	w := s.workers[name]
	if w == nil {
		w = &worker{name: name, calls: make(map[*call]struct{}), heard: time.Now()}
		s.workers[name] = w
	}
	return w
}

// admit makes a call known.
func (s *state) admit(id string, ref lofn.Ref, at int64, key string, print uint64, callback string) *call {
	c := &call{id: id, function: s.function(ref), accepted: at, index: -1}
	if callback != "" {
		c.more().notice = &notice{url: callback, state: lofn.CallbackWaiting}
	}
	if key != "" {
		c.more().key, c.more().print = key, print
		s.keys[keyOf(ref, key)] = c
	}
	s.calls[id] = c
	return c
}

func keyOf(ref lofn.Ref, key string) string { return ref.Host() + "\x00" + key }

func (s *state) accept(e *accepted, at place) {
	c := s.calls[e.id]
	if c != nil {
		// A copy: all that it says is known, unless the first went before the
		// outcome was read.
		s.move(&c.request, at)
		if e.blob != "" && c.state() != lofn.CallFailed {
			c.more().body = e.blob
		}
		return
	}
	c = s.admit(e.id, e.function, e.at, e.key, e.print, e.callback)
	if e.blob != "" {
		c.more().body = e.blob
	}
	c.next = e.at
	if e.standing != (standing{}) {
		c.stand(e.standing)
	}
	s.move(&c.request, at)
	c.function.counts.Accepted++
	s.open++
	s.queued(c)
	if e.standing.worker != "" {
		s.run(c, e.standing.worker)
	}
}

// queued puts a call without an outcome into its lane.
func (s *state) queued(c *call) {
	c.stage = stageOf(lofn.CallQueued)
	c.function.counts.Queued++
	s.line(c)
}

// line has a call wait in its lane, for its next delivery or that of its
// callback.
func (s *state) line(c *call) {
	l := c.function.lane(c.state().Final())
	heap.Push(l, c)
	s.alarm(l)
}

// unline takes a call out of its lane.
func (s *state) unline(c *call) {
	if c.index < 0 {
		return
	}
	l := c.function.lane(c.state().Final())
	heap.Remove(l, int(c.index))
	s.alarm(l)
}

// alarm has the lane told of what is due, now or when it is.
func (s *state) alarm(l *lane) {
	switch {
	case len(l.calls) == 0 || l.calls[0].due() <= time.Now().UnixNano():
		if l.alarm >= 0 {
			// Without its first call it has no order, so it goes by its place.
			s.disarm(l)
		}
		if len(l.calls) > 0 {
			s.due[l] = struct{}{}
		}
	case l.alarm < 0:
		heap.Push(&s.alarms, l)
	default:
		heap.Fix(&s.alarms, l.alarm)
	}
}

// disarm takes a lane out of the alarms, whether it has calls or not.
func (s *state) disarm(l *lane) {
	last := len(s.alarms) - 1
	i := l.alarm
	s.alarms[i] = s.alarms[last]
	s.alarms[i].alarm = i
	s.alarms[last] = nil
	s.alarms, l.alarm = s.alarms[:last], -1
	if i < last {
		heap.Fix(&s.alarms, i)
	}
}

// ring moves the lanes whose alarm has gone off to those that have something
// due, and returns when the next one does, 0 for never.
func (s *state) ring(now int64) int64 {
	for len(s.alarms) > 0 {
		l := s.alarms[0]
		if at := l.calls[0].due(); at > now {
			return at
		}
		s.disarm(l)
		s.due[l] = struct{}{}
	}
	return 0
}

func (s *state) lease(e *leased) {
	for _, id := range e.ids {
		c := s.calls[id]
		switch {
		case c == nil:
			// The copy that comes later says how it stands.
		case e.callback && c.notice() != nil && c.state().Final():
			s.unline(c)
			c.notice().attempts++
			s.hold(c, e.worker)
		case !c.state().Final():
			s.unline(c)
			c.attempts++
			c.started = e.at
			s.run(c, e.worker)
		}
	}
}

// run has a call that waited be under way.
func (s *state) run(c *call, worker string) {
	s.unline(c)
	if c.state() == lofn.CallQueued {
		c.function.counts.Queued--
		c.function.counts.Running++
	}
	c.stage = stageOf(lofn.CallRunning)
	s.hold(c, worker)
}

// hold and release are about who has the lease.
func (s *state) hold(c *call, name string) {
	s.release(c)
	c.lease = s.worker(name)
	c.lease.calls[c] = struct{}{}
}

func (s *state) release(c *call) {
	if c.lease != nil {
		delete(c.lease.calls, c)
		delete(s.mine, c)
		c.lease = nil
	}
}

func (s *state) retry(e *retried) {
	c := s.calls[e.id]
	if c == nil || c.state() != lofn.CallRunning {
		return
	}
	s.release(c)
	r := c.more()
	c.next, r.status, r.reason = e.due, e.status, e.reason
	c.function.counts.Running--
	if e.refused {
		c.attempts--
		r.refusals++
		// Without an answer it was cut off, and not the function's doing.
		if r.refusedSince == 0 && e.status != 0 {
			r.refusedSince = e.at
		}
	} else {
		r.refusedSince = 0
		c.function.counts.Retries++
	}
	s.queued(c)
}

// void gives a worker's calls back. Their attempts count, for they may have
// been made.
func (s *state) void(e *voided) {
	w := s.workers[e.worker]
	if w == nil {
		return
	}
	delete(s.workers, e.worker)
	for c := range w.calls {
		s.interrupt(c, errLeaseLost)
		s.release(c)
		if !c.state().Final() {
			c.function.counts.Running--
			s.queued(c)
		} else {
			s.line(c)
		}
	}
}

func (s *state) stop(e *stopped) {
	c := s.calls[e.id]
	if c == nil || c.state().Final() {
		return
	}
	c.stop = true
	if c.state() == lofn.CallRunning {
		s.interrupt(c, lofn.ErrCancelled)
	}
}

// interrupt tells the delivery of a call, if it is this process's, that it is
// none any more.
func (s *state) interrupt(c *call, why error) {
	if d := s.mine[c]; d != nil {
		d.cancel(why)
	}
}
