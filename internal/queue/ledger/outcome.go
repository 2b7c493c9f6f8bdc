package ledger

import (
	"time"

	"lofn"
)

// settle takes in a call's outcome, or the copy of one.
func (s *state) settle(e *settled, at place) {
	c := s.calls[e.id]
	switch {
	case c == nil:
		// What came before was trimmed.
		c = s.admit(e.id, e.function, e.accepted, e.key, e.print, e.callback)
		c.attempts = uint32(e.attempts)
	case c.state().Final():
		s.move(&c.outcome, at)
		return
	default:
		s.close(c)
	}
	c.stage = stageOf(e.state)
	if e.blob != "" {
		c.more().result = e.blob
	}
	s.move(&c.outcome, at)
	c.count()
	s.keep(c, e.ended)
	if n := c.notice(); n != nil {
		*n = e.notice
		n.url = e.callback
		switch {
		case n.worker != "":
			s.hold(c, n.worker)
			n.worker = ""
		case n.state == lofn.CallbackPending:
			s.line(c)
		}
		if n.state == lofn.CallbackPending {
			c.function.counts.Callbacks++
		}
	}
	switch c.state() {
	case lofn.CallDead:
	case lofn.CallFailed:
		// What was asked tells why it failed; a large body is too dear for that.
		s.forgetBody(c)
	default:
		s.forgetRequest(c)
	}
}

// close ends what a call without an outcome takes part in.
func (s *state) close(c *call) {
	s.unline(c)
	s.release(c)
	if c.state() == lofn.CallRunning {
		c.function.counts.Running--
	} else {
		c.function.counts.Queued--
	}
	s.open--
}

// count adds a call's outcome to its function's.
func (c *call) count() {
	counts := &c.function.counts
	switch c.state() {
	case lofn.CallSucceeded:
		counts.Succeeded++
	case lofn.CallFailed:
		counts.Failed++
	case lofn.CallCancelled:
		counts.Cancelled++
	case lofn.CallDead:
		counts.Died++
		counts.Dead++
	}
}

// startCounting has what is counted begin where an earlier state was, or at
// zero: what the log told of the past does not count.
func (s *state) startCounting(old *state) {
	for ref, f := range s.functions {
		c, was := &f.counts, lofn.QueueCounts{}
		if old != nil && old.functions[ref] != nil {
			was = old.functions[ref].counts
		}
		c.Accepted, c.Retries = was.Accepted, was.Retries
		c.Succeeded, c.Failed, c.Died, c.Cancelled = was.Succeeded, was.Failed, was.Died, was.Cancelled
	}
}

func (s *state) forgetRequest(c *call) {
	s.move(&c.request, place{})
	s.forgetBody(c)
}

func (s *state) forgetBody(c *call) {
	if c.rare != nil {
		s.discard(&c.rare.body)
	}
}

func (s *state) forgetResult(c *call) {
	s.move(&c.outcome, place{})
	if c.rare != nil {
		s.discard(&c.rare.result)
	}
}

// discard leaves a blob to whoever removes what nobody refers to.
func (s *state) discard(blob *string) {
	if *blob != "" {
		s.garbage = append(s.garbage, *blob)
		*blob = ""
	}
}

// move gives an entry that is live another place, or none.
func (s *state) move(from *place, to place) {
	s.records.unpin(*from)
	*from = to
	s.records.pin(to)
}

func (s *state) notify(e *notified) {
	c := s.calls[e.id]
	if c == nil || c.notice() == nil || !c.state().Final() {
		return
	}
	s.unline(c)
	s.release(c)
	n := c.notice()
	was := n.state
	n.state, n.due, n.status, n.reason = e.state, e.due, e.status, e.reason
	if n.state == lofn.CallbackPending {
		s.line(c)
	} else if was == lofn.CallbackPending {
		c.function.counts.Callbacks--
	}
}

func (s *state) redrive(e *redriven) {
	c := s.calls[e.id]
	if c == nil || c.state() != lofn.CallDead || c.request.none() {
		return
	}
	s.quiet(c)
	s.forgetResult(c)
	c.function.counts.Dead--
	c.expires = 0
	c.next, c.attempts, c.started, c.stop = e.at, 0, 0, false
	if r := c.rare; r != nil {
		r.status, r.reason, r.refusals, r.refusedSince = 0, "", 0, 0
		if r.notice != nil {
			*r.notice = notice{url: r.notice.url, state: lofn.CallbackWaiting}
		}
	}
	s.open++
	s.queued(c)
}

// quiet ends the delivery of a callback.
func (s *state) quiet(c *call) {
	s.unline(c)
	if c.lease != nil {
		s.interrupt(c, errLeaseLost)
		s.release(c)
	}
	if c.notice() != nil && c.notice().state == lofn.CallbackPending {
		c.function.counts.Callbacks--
	}
}

// remove forgets a call.
func (s *state) remove(c *call) {
	if c.state().Final() {
		s.quiet(c)
		if c.state() == lofn.CallDead {
			c.function.counts.Dead--
		}
	} else {
		s.close(c)
	}
	s.forgetResult(c)
	s.forgetRequest(c)
	if key := c.known().key; key != "" && s.keys[keyOf(c.function.ref, key)] == c {
		delete(s.keys, keyOf(c.function.ref, key))
	}
	c.expires = -1
	delete(s.calls, c.id)
}

// keep decides until when an outcome is kept.
func (s *state) keep(c *call, ended int64) {
	if c.state() == lofn.CallDead {
		if s.limits.KeepDead > 0 {
			c.expires = ended + int64(s.limits.KeepDead)
			s.dead.push(c)
		}
		return
	}
	c.expires = ended + int64(s.limits.Keep)
	s.kept.push(c)
}

// grace is how long a call whose callback is not delivered yet is kept beyond
// its time.
const grace = int64(time.Minute)

// expire forgets the calls whose time is over, and those that are too many. It
// looks at a bounded number, so that nobody waits for it for long, and reports
// whether it is through.
func (s *state) expire(now int64) bool {
	const most = 10_000
	done := 0
	for _, list := range []*endings{&s.dead, &s.kept} {
		for ; done < most; done++ {
			c, at := list.first()
			if c == nil {
				break
			}
			tooMany := list == &s.kept && list.len() > s.limits.KeepCount
			if c.expires == at && at > now && !tooMany {
				break
			}
			list.pop()
			switch {
			case c.expires != at: // redriven, or gone
			case c.notice() != nil && c.notice().state == lofn.CallbackPending:
				c.expires = now + grace
				list.push(c)
			default:
				s.remove(c)
			}
		}
	}
	return done < most
}

// endings are calls in the order in which they are forgotten.
type endings struct {
	calls []ending
	head  int
}

type ending struct {
	call *call
	at   int64
}

func (e *endings) len() int { return len(e.calls) - e.head }

func (e *endings) push(c *call) { e.calls = append(e.calls, ending{c, c.expires}) }

func (e *endings) first() (*call, int64) {
	if e.len() == 0 {
		return nil, 0
	}
	return e.calls[e.head].call, e.calls[e.head].at
}

func (e *endings) pop() {
	e.calls[e.head] = ending{}
	if e.head++; e.head > len(e.calls)/2 {
		e.calls = append(e.calls[:0], e.calls[e.head:]...)
		e.head = 0
	}
}
