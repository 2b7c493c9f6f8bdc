//go:build linux

package process_test

import (
	"sync"
	"testing"
	"time"

	"lofn"
	"lofn/internal/provider/fleet"
)

// consumption returns what is counted for a function, and whether anything is.
func (r *rig) consumption(fn lofn.Function) (fleet.Consumption, bool) {
	for _, c := range r.Consumption() {
		if c.Function == fn.Ref {
			return c, true
		}
	}
	return fleet.Consumption{}, false
}

// busy is a shell script that is busy for some milliseconds.
const busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done"

func TestConsumptionOutlivesReplicas(t *testing.T) {
	r := newRig(t)
	r.self()
	fn := function("worker", "self")
	if c, ok := r.consumption(fn); ok {
		t.Errorf("before its first replica: %+v", c)
	}
	replica := r.deploy(fn)[0]
	before, _ := r.consumption(fn)
	if before.MemoryBytes < 1<<20 {
		t.Errorf("of an idle replica: %+v", before)
	}
	if out, err := call(t.Context(), replica, "/run", busy); err != nil || out != "done\n" {
		t.Fatal(out, err)
	}
	after, _ := r.consumption(fn)
	if after.CPU <= before.CPU {
		t.Errorf("%v after work that began at %v", after.CPU, before.CPU)
	}

	_, _ = call(t.Context(), replica, "/crash", "")
	r.state(fn, "started again", func(now []lofn.Replica) bool {
		return len(now) == 1 && now[0].State == lofn.Ready && now[0].Restarts == 1
	})
	crashed, _ := r.consumption(fn)
	if crashed.CPU < after.CPU || crashed.MemoryBytes < 1<<20 {
		t.Errorf("after a crash: %+v, before it %+v", crashed, after)
	}

	fn.Replicas = 0
	r.ensure(fn)
	r.state(fn, "without replicas", func(now []lofn.Replica) bool { return len(now) == 0 })
	if c, ok := r.consumption(fn); !ok || c.CPU < crashed.CPU || c.MemoryBytes != 0 {
		t.Errorf("scaled to zero: %+v, before it %+v", c, crashed)
	}
	r.Forget(fn.Ref)
	if c, ok := r.consumption(fn); ok {
		t.Errorf("forgotten: %+v", c)
	}
}

func TestConsumptionOfEndedCallsAndFailedStarts(t *testing.T) {
	r := newRig(t)
	r.self()
	r.image("script", map[string]string{"handler": "#!/bin/sh\n" + busy + "\n"}, "mode=serializing", "fprocess=./handler")
	forks := function("forks", "script")
	replica := r.deploy(forks)[0]
	last, _ := r.consumption(forks)
	for range 3 {
		if out, err := call(t.Context(), replica, "/", ""); err != nil || out != "done\n" {
			t.Fatal(out, err)
		}
		now, _ := r.consumption(forks)
		if now.CPU <= last.CPU || now.MemoryBytes != 0 {
			t.Errorf("after a call: %+v, before it %+v", now, last)
		}
		last = now
	}
	r.gone(forks, replica)
	if c, _ := r.consumption(forks); c.CPU < last.CPU {
		t.Errorf("of a replica that is gone: %+v, before %+v", c, last)
	}

	crashing := function("crashing", "self", "act=exit")
	r.ensure(crashing)
	r.failed(crashing)
	if c, ok := r.consumption(crashing); !ok || c.CPU == 0 {
		t.Errorf("of a replica that failed to start: %+v", c)
	}
}

func TestConsumptionNeverDecreases(t *testing.T) {
	r := newRig(t)
	r.self()
	fn := function("worker", "self")
	replica := r.deploy(fn)[0]
	over := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for last := time.Duration(0); ; {
				c, _ := r.consumption(fn)
				if c.CPU < last {
					t.Errorf("%v after %v", c.CPU, last)
					return
				}
				last = c.CPU
				select {
				case <-over:
					return
				default:
				}
			}
		})
	}
	for n := 1; n <= 3; n++ {
		_, _ = call(t.Context(), replica, "/run", busy)
		_, _ = call(t.Context(), replica, "/crash", "")
		replica = r.state(fn, "started again", func(now []lofn.Replica) bool {
			return len(now) == 1 && now[0].State == lofn.Ready && now[0].Restarts == n
		})[0]
	}
	close(over)
	readers.Wait()
}
