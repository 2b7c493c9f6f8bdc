package app_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"lofn"
)

// scaled deploys a function with the labels, whose names are without their
// common prefix.
func (p *platform) scaled(method string, labels, annotations map[string]string) (status int, answer string) {
	p.Helper()
	d := lofn.Deployment{
		Service: "fn", Image: "fn:latest", Labels: map[string]string{}, Annotations: annotations,
		EnvVars: map[string]string{"answer": "v1", "marker": p.marker()},
	}
	for name, value := range labels {
		d.Labels["com.openfaas.scale."+name] = value
	}
	body, err := json.Marshal(d)
	if err != nil {
		p.Fatal(err)
	}
	return p.do(method, "/system/functions", string(body))
}

// marker is in the environment of the functions of this test's platform.
func (p *platform) marker() string { return "scaled-" + strings.Trim(p.data, "/tmp/") }

func (p *platform) running() int { return len(processesWith("marker=" + p.marker())) }

// herd makes so many calls at once, and returns when all are answered.
func (p *platform) herd(n int) {
	p.Helper()
	var calls sync.WaitGroup
	for range n {
		calls.Go(func() {
			if status, answer := p.do("GET", "/function/fn", ""); status != 200 || answer != "v1" {
				p.Errorf("got %d %q", status, answer)
			}
		})
	}
	calls.Wait()
}

func TestToZeroAndBack(t *testing.T) {
	p := newUpgradable(t)
	p.push("fn:latest", nil)
	labels := map[string]string{
		"type": "capacity", "target": "50", "target-proportion": "1", "max": "5", "down.window": "1s", "zero": "true", "zero-duration": "1s",
	}
	if code, answer := p.scaled("POST", labels, nil); code != 202 {
		t.Fatal(code, answer)
	}
	atZero := func() bool { return p.running() == 0 }
	p.eventually("a replica shows that it works", func() bool {
		return strings.Contains(p.must(200, "GET", "/system/logs?name=fn&tail=-1", ""), "function listens")
	})
	p.eventually("nothing runs of a function that nobody calls", atZero)
	if s := status(p, "fn").Scaling; s == nil || s.Replicas != 0 || !strings.Contains(s.Reason, "no call for 1s") {
		t.Errorf("its scaling is %+v", s)
	}

	p.herd(300)
	if n := status(p, "fn").Replicas; n < 1 || n > 5 {
		t.Errorf("%d replicas after a herd, want 1 to 5", n)
	}
	p.eventually("nothing runs again", atZero)
	p.herd(1)

	p.kill()
	p.eventually("nothing runs without a platform", atZero)
	p.start()
	if n := p.running(); n != 0 {
		t.Errorf("a start of the platform started %d replicas of a function at zero", n)
	}
	p.herd(300)

	labels["min"], labels["zero-duration"] = "2", "5m"
	if code, answer := p.scaled("PUT", labels, nil); code != 202 {
		t.Fatal(code, answer)
	}
	p.eventually("two replicas run", func() bool { return status(p, "fn").AvailableReplicas == 2 && p.running() == 2 })
	p.upgrade()
	if s := status(p, "fn"); s.Replicas != 2 || s.AvailableReplicas != 2 {
		t.Errorf("after an upgrade %d replicas are wanted and %d ready, want 2: %+v", s.Replicas, s.AvailableReplicas, s.Scaling)
	}
}

func TestAWarmFunctionIsThereBeforeItIsCalledAndNonsenseIsRefused(t *testing.T) {
	p := newPlatform(t)
	p.start()
	p.push("fn:latest", nil)
	labels := map[string]string{"zero": "true", "zero-duration": "1s"}
	if code, answer := p.scaled("POST", labels, map[string]string{lofn.AnnotationWarm: "* * * * *"}); code != 202 {
		t.Fatal(code, answer)
	}
	p.eventually("it runs", func() bool { return p.running() == 1 })
	p.kill()
	p.start()
	p.eventually("it runs again, though nobody calls it", func() bool { return p.running() == 1 })

	for _, tc := range []struct {
		labels, annotations map[string]string
		want                string
	}{
		{map[string]string{"min": "5", "max": "2"}, nil, "com.openfaas.scale.max (2) is below com.openfaas.scale.min (5)"},
		{map[string]string{"type": "latency"}, nil, "--prometheus-url"},
		{map[string]string{"target": "0"}, nil, "use a number above 0"},
		{nil, map[string]string{lofn.AnnotationWarm: "8-17 * *"}, "give minute, hour, day, month and weekday"},
	} {
		code, answer := p.scaled("PUT", tc.labels, tc.annotations)
		if code != 400 || !strings.Contains(answer, tc.want) {
			t.Errorf("%v: got %d %q, want %q", tc.labels, code, answer, tc.want)
		}
	}
	if s := status(p, "fn"); s.Generation != 1 {
		t.Errorf("what was refused made it generation %d", s.Generation)
	}
}
