package app_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lofn"
)

// TestStoppingSettlesCallsOrGivesThemBack: calls that end in the time of a stop
// have their outcome, and those that do not are made again at the next start,
// without having used up an attempt.
func TestStoppingSettlesCallsOrGivesThemBack(t *testing.T) {
	p, v := newPlatform(t), newVisits(t)
	p.drain = 3 * time.Second
	p.start()
	p.push("fn:latest", nil)
	p.visiting("fn", nil)
	path := v.path("fn", http.StatusOK)
	v.hold("ends", "cut", "twice")
	p.accept(path, "", "ends", "cut", "twice")
	p.comeTo(lofn.CallRunning, "ends", "cut", "twice")
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.eventually("it stops", func() bool { return strings.Contains(p.stderr.String(), "stopping") })
	v.free("ends")
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("it was stopped: %v", err)
	}
	v.once(t, "ends")
	p.start()
	p.comeTo(lofn.CallSucceeded, "ends")
	v.once(t, "ends")
	p.comeTo(lofn.CallRunning, "cut", "twice")
	v.free("cut", "twice")
	p.comeTo(lofn.CallSucceeded, "cut", "twice")
	for _, id := range []string{"cut", "twice"} {
		attempts, broken := v.of(id)
		if s := p.call(id); s.Attempts != 1 || strings.Join(attempts, " ") != "1 1" || broken != 1 {
			t.Errorf("call %s is %+v, and was made as attempts %v, of which %d were broken off", id, s, attempts, broken)
		}
	}
}

// sample returns a metric, -1 if it is not there.
func (p *platform) sample(name string) float64 {
	p.Helper()
	for line := range strings.SplitSeq(metrics(p), "\n") {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				p.Error(err)
			}
			return f
		}
	}
	return -1
}

func TestABacklogStartsReplicasAndTheRemovedAreForgotten(t *testing.T) {
	p, v := newPlatform(t), newVisits(t)
	p.start()
	p.push("fn:latest", nil)
	labels := map[string]string{}
	for name, value := range map[string]string{
		"type": "queue", "target": "2", "target-proportion": "1", "max": "3", "down.window": "1s", "zero": "true", "zero-duration": "1s",
	} {
		labels["com.openfaas.scale."+name] = value
	}
	p.visiting("fn", labels)
	path, atZero := v.path("fn", http.StatusOK), func() bool { return p.running() == 0 }
	p.eventually("it is scaled to zero", func() bool { return status(p, "fn").Replicas == 0 && atZero() })
	held := numbered("held", 6)
	v.hold(held...)
	p.accept(path, "", held...)
	p.eventually("the backlog has its replicas", func() bool { return status(p, "fn").AvailableReplicas == 3 })
	p.comeTo(lofn.CallRunning, held...)
	if n := p.sample(`gateway_queue_running{function_name="fn.openfaas-fn"}`); n != 6 {
		t.Errorf("%v calls are running, according to the metrics", n)
	}
	v.free(held...)
	p.comeTo(lofn.CallSucceeded, held...)
	p.eventually("it is scaled to zero again", atZero)
	v.once(t, held...)
	if n := p.sample(`gateway_queue_outcomes_total{function_name="fn.openfaas-fn",state="succeeded"}`); n != 6 {
		t.Errorf("%v calls succeeded, according to the metrics", n)
	}

	// It is removed while a call is under way, and others wait.
	p.visiting("other", map[string]string{"com.openfaas.scale.max": "1"})
	v.hold("under-way")
	p.accept(v.path("other", http.StatusOK), "", "under-way")
	p.comeTo(lofn.CallRunning, "under-way")
	p.must(202, "DELETE", "/system/functions", `{"functionName":"other"}`)
	v.free("under-way")
	p.eventually("a call of a removed function ends", func() bool { return p.call("under-way").State.Final() })
	if status, answer := p.submit("none", v.path("other", http.StatusOK), ""); status != http.StatusNotFound {
		t.Errorf("a call of a removed function: %d %s", status, answer)
	}
}

func TestCallsOfARemovedFunctionAreDeadUntilRedriven(t *testing.T) {
	p, v := newPlatform(t), newVisits(t)
	p.start()
	p.push("fn:latest", nil)
	p.visiting("fn", nil)
	path := v.path("fn", http.StatusTooManyRequests)
	waiting := numbered("waiting", 2)
	p.accept(path, "", waiting...)
	p.eventually("the calls wait, since the function has no room", func() bool {
		return p.call(waiting[0]).RefusedSince != nil && p.call(waiting[1]).RefusedSince != nil
	})
	p.must(202, "DELETE", "/system/functions", `{"functionName":"fn"}`)
	p.comeTo(lofn.CallDead, waiting...)
	if s := p.call(waiting[0]); !strings.Contains(s.Reason, "is not deployed any more") {
		t.Errorf("a call of a removed function is %+v", s)
	}
	if n := p.sample(`gateway_queue_dead_letters{function_name="fn.openfaas-fn"}`); n != 2 {
		t.Errorf("%v calls are dead, according to the metrics", n)
	}
	p.must(202, "DELETE", "/system/queue/calls/"+waiting[1], "")
	p.visiting("fn", nil)
	var detail lofn.CallDetail
	if err := json.Unmarshal([]byte(p.must(200, "GET", "/system/queue/calls/"+waiting[0], "")), &detail); err != nil || detail.Path != "/visit" {
		t.Errorf("the dead call is %+v, %v", detail, err)
	}
	p.must(202, "POST", "/system/queue/calls/"+waiting[0]+"/redrive", "")
	before, _ := v.of(waiting[0])
	p.eventually("it is made again", func() bool {
		attempts, _ := v.of(waiting[0])
		return len(attempts) > len(before)
	})
	p.must(202, "DELETE", "/async-function/calls/"+waiting[0], "")
	p.comeTo(lofn.CallCancelled, waiting[0])
	p.must(202, "DELETE", "/system/functions", `{"functionName":"fn"}`)
	p.eventually("the metrics of a removed function without calls are gone", func() bool {
		return !strings.Contains(metrics(p), `function_name="fn.openfaas-fn"`)
	})
}
