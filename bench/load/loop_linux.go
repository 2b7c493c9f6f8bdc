package load

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// loop is one run: all connections, served by one thread that waits in epoll.
// Go's own poller would wake a goroutine for each answer, and a timer of it is
// late by up to a millisecond, which is more than the calls take.
type loop struct {
	target  Target
	plan    Plan
	request []byte
	epoll   int
	timer   int // becomes readable when the next call is due
	conns   []*conn
	buf     []byte

	start, end time.Time
	free       queue // connections without a call, when paced
	begun      int   // calls
	busy       int   // calls under way
	latencies  []time.Duration
	result     Result
	err        error // ends a closed loop
}

const timerID = -1

func run(ctx context.Context, t Target, p Plan) (Result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l := &loop{target: t, plan: p, request: t.request(), buf: make([]byte, 256<<10), latencies: make([]time.Duration, 0, 1<<16)}
	if err := l.open(); err != nil {
		return Result{}, err
	}
	defer l.close()
	l.start = time.Now()
	l.end = l.start.Add(p.For)
	if p.Rate == 0 {
		for _, c := range l.conns {
			l.begin(c, time.Now())
		}
	}
	if err := l.serve(ctx); err != nil {
		return l.result, err
	}
	l.result.measured(l.latencies)
	return l.result, nil
}

func (l *loop) open() (err error) {
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		unix.Close(l.epoll)
		return fmt.Errorf("timer: %w", err)
	}
	err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.timer, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: timerID})
	for i := 0; i < l.plan.Connections && err == nil; i++ {
		c := &conn{id: i, fd: -1}
		l.conns = append(l.conns, c)
		l.free.push(c)
		err = l.connect(c)
	}
	if err != nil {
		l.close()
	}
	return err
}

func (l *loop) close() {
	for _, c := range l.conns {
		c.close()
	}
	unix.Close(l.timer)
	unix.Close(l.epoll)
}

// serve begins calls and takes answers until all is done.
func (l *loop) serve(ctx context.Context) error {
	events := make([]unix.EpollEvent, 512)
	for ctx.Err() == nil {
		now := time.Now()
		l.stopIfTold(now)
		if l.plan.Rate > 0 {
			l.beginDue(now)
		}
		if l.err != nil || l.over(now) {
			return l.err
		}
		n, err := unix.EpollWait(l.epoll, events, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			if e.Fd != timerID {
				l.ready(l.conns[e.Fd], e.Events)
			}
		}
	}
	return ctx.Err()
}

func (l *loop) stopIfTold(now time.Time) {
	select {
	case <-l.plan.Stop:
		if now.Before(l.end) {
			l.end = now
		}
	default:
	}
}

// due is when a call of a paced run is to begin.
func (l *loop) due(call int) time.Time {
	return l.start.Add(time.Duration(float64(call) / l.plan.Rate * float64(time.Second)))
}

// beginDue begins what is due, as far as there are connections, and sets the
// timer to what is due next.
func (l *loop) beginDue(now time.Time) {
	due := l.due(l.begun)
	for ; !due.After(now) && l.wanted(due, now); due = l.due(l.begun) {
		c := l.free.pop()
		if c == nil {
			return // the next answer comes back here
		}
		l.begin(c, due)
	}
	in := max(time.Until(due), 1)
	_ = unix.TimerfdSettime(l.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(in))}, nil)
}

// wanted reports whether a call that was due is still to be made: at the end
// there may be some that found no free connection yet.
func (l *loop) wanted(due, now time.Time) bool {
	return due.Before(l.end) && (now.Before(l.end) || !l.plan.Drop)
}

// over reports whether no call is to begin any more and none is under way, or
// waited for. The latter have failed.
func (l *loop) over(now time.Time) bool {
	open := l.busy > 0 || l.plan.Rate > 0 && l.wanted(l.due(l.begun), now)
	if now.Before(l.end) || open && now.Before(l.end.Add(l.plan.Patience)) {
		return false
	}
	l.result.Elapsed = l.end.Sub(l.start)
	if l.plan.Rate == 0 {
		l.result.Elapsed = now.Sub(l.start)
	} else {
		for ; l.due(l.begun + l.result.Unsent).Before(l.end); l.result.Unsent++ {
		}
	}
	for _, c := range l.conns {
		if c.busy {
			l.failed(c, fmt.Sprintf("no answer within %s of the end", l.plan.Patience), "")
		}
	}
	return true
}

// failed ends a call: a closed loop with it, while a paced run counts it and
// has the connection opened anew for the next.
func (l *loop) failed(c *conn, reason, detail string) {
	if l.plan.Rate == 0 {
		l.err = errors.New(reason + detail)
	}
	l.result.failed(reason, detail)
	c.close()
	l.finished(c)
}

// finished makes a connection free for another call.
func (l *loop) finished(c *conn) {
	c.busy = false
	l.busy--
	if l.plan.Rate > 0 {
		l.free.push(c)
	}
}

// queue has the connections without a call, the one that waits longest first,
// so that all are used in turn.
type queue struct{ waiting []*conn }

func (q *queue) push(c *conn) { q.waiting = append(q.waiting, c) }

func (q *queue) pop() *conn {
	if len(q.waiting) == 0 {
		return nil
	}
	c := q.waiting[0]
	q.waiting = q.waiting[1:]
	return c
}
