package scale_test

import (
	"testing"
	"time"

	"lofn"
	"lofn/internal/scale"
)

// counter is a pool of one function that counts how often it is asked.
type counter struct {
	load lofn.Load
	asks int
}

func (c *counter) Sample(lofn.Ref) lofn.Load {
	c.asks++
	return c.load
}

// paced is a scaler of one function with a clock that stands until it is moved.
type paced struct {
	*scale.Scaler
	pool *counter
	now  time.Time
	to   []int
	due  time.Time
}

func pace(labels map[string]string) *paced {
	p := &paced{pool: &counter{}, now: time.Unix(1e9, 0)}
	p.Scaler = scale.New(scale.Config{
		Pool: p.pool, Now: func() time.Time { return p.now },
		Scale: func(_ lofn.Ref, _ lofn.Revision, replicas int) { p.to = append(p.to, replicas) },
	})
	p.Declare(lofn.Function{Ref: paceRef, Replicas: 1, Spec: lofn.Spec{Labels: labels}}, 1, false)
	return p
}

var paceRef = lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "paced"}

// pass lets time go by, with all decisions that come due.
func (p *paced) pass(t *testing.T, d time.Duration) {
	end := p.now.Add(d)
	for p.due = p.Step(t.Context()); !p.due.IsZero() && !p.due.After(end); p.due = p.Step(t.Context()) {
		p.now = p.due
	}
	p.now = end
}

func TestALongCallIsNotLookedAtAllTheTime(t *testing.T) {
	p := pace(map[string]string{lofn.LabelScaleType: "capacity"})
	p.pool.load = lofn.Load{InFlight: 1, Started: 1, Ready: 1}
	p.Poke(paceRef)
	p.pass(t, 2*time.Second)
	before := p.pool.asks
	if p.pass(t, time.Minute); p.pool.asks-before > 61 {
		t.Errorf("asked %d times in a minute in which nothing changed", p.pool.asks-before)
	}
	before = p.pool.asks
	p.pool.load.InFlight, p.pool.load.Started = 2, 2
	p.Poke(paceRef)
	if p.pass(t, time.Second); p.pool.asks-before < 5 {
		t.Errorf("asked %d times in the second after another call came", p.pool.asks-before)
	}
}

func TestIdleTimeBeginsAtTheEndOfACall(t *testing.T) {
	p := pace(map[string]string{lofn.LabelScaleZero: "true", lofn.LabelScaleZeroDuration: "1s"})
	p.pool.load = lofn.Load{InFlight: 1, Started: 1, Ready: 1}
	p.Poke(paceRef)
	p.pass(t, 9900*time.Millisecond)
	p.pool.load.InFlight = 0 // between two looks
	if p.pass(t, time.Second); len(p.to) != 0 {
		t.Error("went to zero within a second of its last call")
	}
	if p.pass(t, 2*time.Second); len(p.to) != 1 || p.to[0] != 0 {
		t.Errorf("decided %v, want zero", p.to)
	}
}
