package scale

import "time"

// slot is the time that one figure of a window stands for.
const slot = 200 * time.Millisecond

// slots are as many as the longest span has.
const slots = int(30 * time.Second / slot)

// window holds a load over the latest 30 s. The zero value is a load of zero
// that began never.
type window struct {
	figures [slots]float32
	// last numbers the slot that was written last, counted from origin.
	origin time.Time
	last   int
}

// advance makes now's slot the last one, and fills those in between.
func (w *window) advance(now time.Time, fill float32) *float32 {
	if w.origin.IsZero() {
		w.origin = now
	}
	for at := int(now.Sub(w.origin) / slot); w.last < at; {
		if at-w.last > slots {
			w.last = at - slots
		}
		w.last++
		w.figures[w.last%slots] = fill
	}
	return &w.figures[w.last%slots]
}

// add counts things that happened since the last call.
func (w *window) add(now time.Time, n float64) {
	*w.advance(now, 0) += float32(n)
}

// set says what a load is from now on; from the last call until now it was as
// it was then.
func (w *window) set(now time.Time, load float64) {
	before := w.figures[w.last%slots]
	*w.advance(now, before) = float32(load)
}

// sum adds up the slots of the latest time, which is not longer than the window.
func (w *window) sum(span time.Duration) float64 {
	total := 0.0
	for i := range int(span / slot) {
		if w.last-i < 0 {
			break
		}
		total += float64(w.figures[(w.last-i)%slots])
	}
	return total
}

// shift moves what is held in time.
func (w *window) shift(by time.Duration) {
	if w != nil {
		w.origin = w.origin.Add(by)
	}
}

// rate is how many things were added for each second of the span.
func (w *window) rate(span time.Duration) float64 { return w.sum(span) / span.Seconds() }

// mean is the average load over the span.
func (w *window) mean(span time.Duration) float64 { return w.sum(span) / float64(span/slot) }

// peaks finds the highest of the latest numbers. The zero value has none.
type peaks struct{ falling []peak }

// peak is a number that no later one has reached.
type peak struct {
	n  int
	at time.Time
}

// add notes a number.
func (p *peaks) add(now time.Time, n int) {
	for len(p.falling) > 0 && p.falling[len(p.falling)-1].n <= n {
		p.falling = p.falling[:len(p.falling)-1]
	}
	p.falling = append(p.falling, peak{n, now})
}

// shift moves what is held in time.
func (p *peaks) shift(by time.Duration) {
	for i := range p.falling {
		p.falling[i].at = p.falling[i].at.Add(by)
	}
}

// highest is the highest number noted since then, 0 if there is none.
func (p *peaks) highest(since time.Time) int {
	for len(p.falling) > 0 && p.falling[0].at.Before(since) {
		p.falling = p.falling[1:]
	}
	if len(p.falling) == 0 {
		p.falling = nil
		return 0
	}
	return p.falling[0].n
}
