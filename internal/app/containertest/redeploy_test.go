package containertest

import (
	"testing"

	"lofn"
	"lofn/internal/provider/containerd/containerdtest"
)

// TestDeploymentsFailNoCall deploys one image after another, containers and
// processes, while calls are made all the time.
func TestDeploymentsFailNoCall(t *testing.T) {
	atLength(t)
	p := serving(t)
	first := p.push("fn:1", containerdtest.Answer(t, "ANSWER=one"))
	second := p.push("fn:2", containerdtest.Answer(t, "ANSWER=two"))
	third := p.push("fn:3", hostImage(t, "ANSWER=three"))
	p.deploy("fn", first)
	p.scale("fn", 2)
	p.serves("fn", 2)
	load := startLoad(p, "fn", "one", "two", "three", "four")
	for _, next := range []struct {
		image, answer, runtime string
		containers             int
		change                 func(*lofn.Deployment)
	}{
		{second, "two", lofn.RuntimeContainer, 2, func(*lofn.Deployment) {}},
		{second, "four", lofn.RuntimeContainer, 2, withEnv("ANSWER", "four")},
		{third, "three", lofn.RuntimeProcess, 0, func(*lofn.Deployment) {}},
		{first, "one", lofn.RuntimeContainer, 2, func(*lofn.Deployment) {}},
	} {
		p.redeploy("fn", next.image, next.change)
		p.serves("fn", 2)
		p.runs(next.containers)
		p.call("fn", next.answer)
		if got := p.status("fn").Runtime; got != next.runtime {
			t.Errorf("%s runs as a %s, want %s", next.image, got, next.runtime)
		}
		load.more(50)
	}
	load.end()
}

// TestABadDeploymentLeavesTheOldInService deploys an image that does not get
// ready.
func TestABadDeploymentLeavesTheOldInService(t *testing.T) {
	atLength(t)
	p := serving(t)
	image := p.push("fn:1", containerdtest.Answer(t, "ANSWER=one"))
	p.deploy("fn", image)
	load := startLoad(p, "fn", "one")
	p.redeploy("fn", image, withEnv("EXIT", "3"))
	p.Until("describe says what is wrong", func() bool {
		for _, r := range p.status("fn").Instances {
			if r.State == lofn.Failed && r.Reason == "exited with status 3: error: told to end" {
				return true
			}
		}
		return false
	})
	load.more(50)
	p.redeploy("fn", image)
	p.serves("fn", 1)
	load.end()
}
