package queue

import (
	"context"
	"sync"
	"time"

	"lofn"
)

// task is how deliveries of one kind are made.
type task interface {
	// room is how many deliveries a line may have at a time, 1 at least. The
	// crew's lock is held.
	room(*line) int
	// make makes one, and says what came of it.
	make(*line, lofn.Delivery) lofn.Settlement
	// learn tells the line what came of a delivery that it had when its window
	// was in the given round. The crew's lock is held.
	learn(l *line, round int, s lofn.Settlement)
}

// crew has a number of places for deliveries, and gives them to the lines that
// have some due, in turn.
type crew struct {
	worker *Worker
	task   task
	places int
	// news has a value when there may be something to hand out.
	news chan struct{}

	mu    sync.Mutex
	lines map[lofn.Lane]*line
	// turn are the lines that wait for places, the next one first.
	turn []*line
	free int
}

// line is what a crew knows of a lane.
type line struct {
	lane   lofn.Lane
	window window
	// under is how many places it has, but for those of deliveries that were made
	// and are only to be settled. The queue has filled so many of them as there
	// are calls.
	under, calls int
	// slow are those that have been under way for long, where that matters.
	slow int
	// due says that the queue may have something for it.
	due bool
	// listed is set while it waits for its turn, taking while it asks the queue,
	// and stuck while it has as much as it may.
	listed, taking, stuck bool
	// failed says that the queue did not answer it the last time.
	failed bool
	// full says that it could do more if its window were wider.
	full bool
	// until is when it may have more, after it refused some, and pause how long
	// that was the last time.
	until time.Time
	pause time.Duration
	// idle is since when it has had nothing.
	idle time.Time
}

func newCrew(w *Worker, places int, t task) *crew {
	return &crew{worker: w, task: t, places: places, free: places, news: make(chan struct{}, 1), lines: make(map[lofn.Lane]*line)}
}

func (c *crew) poke(lane lofn.Lane) {
	c.mu.Lock()
	l := c.lines[lane]
	if l == nil {
		l = &line{lane: lane}
		c.lines[lane] = l
	}
	l.due = true
	c.list(l)
	c.mu.Unlock()
}

// list has a line wait for its turn, if it has something to wait for.
func (c *crew) list(l *line) {
	if !l.due || l.listed || l.taking || l.stuck {
		return
	}
	l.listed = true
	c.turn = append(c.turn, l)
	c.wake()
}

func (c *crew) wake() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// run hands out places until ctx ends, and returns when the queue is not asked
// for anything any more.
func (c *crew) run(ctx context.Context, q taker) {
	var asking sync.WaitGroup
	defer asking.Wait()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.news:
		case <-tick.C:
			c.review(time.Now())
		}
		for l, n := c.next(ctx); l != nil; l, n = c.next(ctx) {
			asking.Add(1)
			c.worker.under.Go(func() { c.fetch(ctx, q, l, n, asking.Done) })
		}
	}
}

// next gives places to the line whose turn it is, nil if there are none or
// nobody wants any.
func (c *crew) next(ctx context.Context) (l *line, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.free > 0 && len(c.turn) > 0 && ctx.Err() == nil {
		l, c.turn = c.turn[0], c.turn[1:]
		l.listed = false
		if n = c.share(l); n == 0 {
			l.stuck = true
			continue
		}
		l.due, l.taking = false, true
		l.under += n
		c.free -= n
		return l, n
	}
	return nil, 0
}

// greed bounds what one line may have: so many times what it leaves to the
// others. One in so many places as reserve says is only for lines that have
// none, so that there is one for who comes next, however slow the others are.
const (
	greed   = 4
	reserve = 4
)

// share is how many more places a line gets.
func (c *crew) share(l *line) int {
	if time.Now().Before(l.until) {
		return 0
	}
	more := c.task.room(l) - l.under
	free := c.free - c.places/reserve
	fair := min((greed*free-l.under)/(1+greed), free/(1+len(c.turn)))
	if l.under == 0 {
		fair = max(fair, 1)
	}
	l.full = more <= fair
	return max(min(more, fair), 0)
}

// fetch has the queue fill the places that a line got, and the deliveries made.
func (c *crew) fetch(ctx context.Context, q taker, l *line, n int, asked func()) {
	deliveries, err := q.Take(ctx, l.lane, n)
	asked()
	round, before := c.fetched(l, len(deliveries), n-len(deliveries), err != nil)
	if err != nil && !before && ctx.Err() == nil && lofn.CodeOf(err) != lofn.Unavailable {
		c.worker.Log.Error("the queue does not say what is due, it is asked again until it does", "function", l.lane.Function, "error", err)
	}
	for i, d := range deliveries {
		if i == len(deliveries)-1 {
			c.attend(l, round, d)
			return
		}
		c.worker.under.Go(func() { c.attend(l, round, d) })
	}
}

// fetched takes back the places that were not filled. A line that could fill
// all of them may have more, and one that could not ask asks again in a while.
// before says that it could not the last time either.
func (c *crew) fetched(l *line, filled, unused int, failed bool) (round int, before bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.taking = false
	l.calls += filled
	l.under -= unused
	c.free += unused
	l.due = l.due || unused == 0 || failed
	l.full = l.full && unused == 0
	l.stuck = failed
	before, l.failed = l.failed, failed
	c.list(l)
	if unused > 0 {
		c.wake()
	}
	return l.window.round, before
}

// attend makes a delivery and tells the queue what came of it. The function is
// free for the next one before that is written down.
func (c *crew) attend(l *line, round int, d lofn.Delivery) {
	s := c.task.make(l, d)
	c.mu.Lock()
	c.task.learn(l, round, s)
	l.under--
	l.calls--
	l.stuck = false
	c.list(l)
	c.mu.Unlock()
	c.worker.settle(d, s)
	c.mu.Lock()
	c.free++
	if len(c.turn) > 0 {
		c.wake()
	}
	c.mu.Unlock()
}

// forgetTime is how long a line is remembered that has nothing.
const forgetTime = time.Minute

// review lists the lines again that had as much as they might have, and forgets
// those that have had nothing for a while.
func (c *crew) review(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for lane, l := range c.lines {
		switch {
		case l.due || l.taking || l.under > 0:
			l.idle = time.Time{}
		case l.idle.IsZero():
			l.idle = now
		case now.Sub(l.idle) > forgetTime && now.After(l.until):
			delete(c.lines, lane)
		}
		l.stuck = false
		c.list(l)
	}
}
