package containerd_test

import (
	"context"
	"net/http"
	"testing"

	"lofn"
	"lofn/internal/provider/containerd"
	"lofn/internal/provider/containerd/containerdtest"
	"lofn/internal/provider/providertest"
)

func TestProvider(t *testing.T) {
	s := newSite(t)
	image := s.push(t, "answer:1", containerdtest.Answer(t))
	// The suite's functions belong to no rig in particular.
	any := newRig(t, s)
	for name, standby := range map[string]int{"WithSpares": 3, "WithoutSpares": 0} {
		t.Run(name, func(t *testing.T) {
			providertest.Run(t, providertest.Harness{
				Provider: func(t *testing.T, drain func(context.Context, lofn.Replica) error) lofn.Provider {
					return newRig(t, s, func(c *containerd.Config) { c.Drain, c.Standby = drain, standby }).Provider
				},
				Function: func(t *testing.T, ref lofn.Ref, text string) lofn.Function {
					return any.function(t, ref, image, "ANSWER="+text)
				},
				Broken: func(t *testing.T, ref lofn.Ref) lofn.Function {
					return any.function(t, ref, image, "EXIT=3")
				},
				Crash: func(t *testing.T, _ lofn.Provider, r lofn.Replica) {
					if answer, err := http.Get("http://" + r.Address + "/exit/1"); err == nil {
						answer.Body.Close()
					}
				},
				Many: 8,
			})
		})
	}
}
