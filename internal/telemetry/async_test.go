package telemetry_test

import (
	"testing"
	"time"

	"lofn"
	"lofn/internal/telemetry"
)

func TestAsynchronousCalls(t *testing.T) {
	m := telemetry.New()
	oldest := time.Now().Add(time.Minute) // by another clock
	m.CountAsync(func(yield func(lofn.Ref, lofn.QueueCounts)) {
		yield(cow, lofn.QueueCounts{Queued: 1, Running: 2, Dead: 3, Callbacks: 4, Oldest: &oldest, Accepted: 5, Retries: 6, Succeeded: 7, Failed: 8, Died: 9, Cancelled: 10})
	})
	m.Attempted(cow, 200)
	m.Attempted(cow, 503)
	m.Attempted(cow, 503)
	for _, state := range []lofn.CallState{lofn.CallSucceeded, lofn.CallFailed, lofn.CallQueued, lofn.CallQueued} {
		m.CalledBack(cow, state)
	}
	got := func() []string { return samples(t, m, "gateway_queue_") }
	counts := []string{
		`gateway_queue_accepted_total{function_name="cow.farm"} 5`,
		`gateway_queue_attempts_total{code="200",function_name="cow.farm"} 1`,
		`gateway_queue_attempts_total{code="503",function_name="cow.farm"} 2`,
		`gateway_queue_callbacks_pending{function_name="cow.farm"} 4`,
		`gateway_queue_callbacks_total{function_name="cow.farm",state="delivered"} 1`,
		`gateway_queue_callbacks_total{function_name="cow.farm",state="failed"} 1`,
		`gateway_queue_callbacks_total{function_name="cow.farm",state="retried"} 2`,
		`gateway_queue_dead_letters{function_name="cow.farm"} 3`,
		`gateway_queue_depth{function_name="cow.farm"} 1`,
		`gateway_queue_oldest_seconds{function_name="cow.farm"} 0`,
		`gateway_queue_outcomes_total{function_name="cow.farm",state="cancelled"} 10`,
		`gateway_queue_outcomes_total{function_name="cow.farm",state="dead"} 9`,
		`gateway_queue_outcomes_total{function_name="cow.farm",state="failed"} 8`,
		`gateway_queue_outcomes_total{function_name="cow.farm",state="succeeded"} 7`,
		`gateway_queue_retries_total{function_name="cow.farm"} 6`,
		`gateway_queue_running{function_name="cow.farm"} 2`,
	}
	expect(t, got(), counts...)
	m.Forget(cow)
	for _, line := range got() {
		if line == counts[1] || line == counts[4] {
			t.Errorf("of a removed function there is still %s", line)
		}
	}
}
