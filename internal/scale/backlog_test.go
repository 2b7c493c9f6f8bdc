package scale_test

import (
	"strings"
	"testing"
	"time"

	"lofn"
	"lofn/internal/scale"
)

// TestABacklogScales has a worker that calls the function while there is a
// backlog, two calls at a time for each replica.
func TestABacklogScales(t *testing.T) {
	backlog := 0
	w := newWorld(t, map[string]string{
		lofn.LabelScaleType: "queue", lofn.LabelScaleTarget: "10", lofn.LabelScaleProportion: "1", lofn.LabelScaleMax: "8",
		lofn.LabelScaleZero: "true", lofn.LabelScaleZeroDuration: "5m",
	}, func(c *scale.Config) { c.Backlog = func(lofn.Ref) int { return backlog } })
	w.answer = time.Second
	w.declare(false)
	w.rest(6 * time.Minute)
	w.want(0)

	began := w.now
	backlog = 55
	w.call()
	w.rest(2 * time.Second)
	w.want(6)
	if s := w.scaler.Status(echo); !strings.Contains(s.Reason, "calls queued or running") {
		t.Errorf("it says %q", s.Reason)
	}
	backlog = 1000
	w.run(time.Minute, steady(10))
	w.want(8)
	if took := w.reached(began, 8); took > 5*time.Second {
		t.Errorf("the most replicas came after %v", took)
	}
	backlog = 0
	w.rest(4 * time.Minute)
	w.want(1)
	w.rest(6 * time.Minute)
	w.want(0)
	w.allAnswered()
}

func TestThereIsNoBacklogWithoutAQueue(t *testing.T) {
	s := scale.New(scale.Config{})
	fn := lofn.Function{Ref: echo, Spec: lofn.Spec{Labels: map[string]string{lofn.LabelScaleType: "queue"}}}
	if err := s.Check(fn); lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), "there is no queue") {
		t.Errorf("got %v", err)
	}
}
