package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"lofn"
)

// containerRate is what calls per second are divided by where a function is a
// container: a replica costs more of the processors to start, and they are to
// have some of their time left.
const containerRate = 3

// measureContainerChange is measureChange of containers, of two images in turn.
func measureContainerChange(ctx context.Context, b *box, o options) error {
	return b.onContainers(ctx, o, func(p *platform) error { return p.endureContainers(ctx, o) })
}

func (p *platform) endureContainers(ctx context.Context, o options) error {
	other, err := p.up(ctx, lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "other"}, benchLanguage, map[string]string{
		"handler.go": strings.ReplaceAll(handler, `"ok\n"`, `"fine\n"`), "go.mod": benchModule,
	})
	if err != nil {
		return err
	}
	o.rate /= containerRate
	return p.endureAll(ctx, containerPhases([]string{p.image, other.Image}), o)
}

// containerPhases are those of measureChange that concern containers, with two
// images to be deployed in turn.
func containerPhases(images []string) []phase {
	return []phase{
		{"steady", "nothing", "POST", 1, leaveAlone},
		{"images", "another image, 2 s after the last has taken over", "POST", 1, func(ctx context.Context, p *platform, d lofn.Deployment) (string, error) {
			return alternate(ctx, p, d, images)
		}},
		{"scale", "4 replicas, then 1, every 2 s", "POST", 1, func(ctx context.Context, p *platform, d lofn.Deployment) (string, error) {
			return scaleEvery(ctx, 2*time.Second, p, d)
		}},
		{"kill", "`kill -9` of one of 3 replicas every second", "GET", 3, killReplicas},
		{"upgrade", "a new process of the platform every 5 s, by SIGHUP", "POST", 1, upgrade},
	}
}

// alternate deploys images in turn, each when the last has taken over for a while.
func alternate(ctx context.Context, p *platform, d lofn.Deployment, images []string) (string, error) {
	done := 0
	_, err := every(ctx, 2*time.Second, func(n int) error {
		d.Image = images[(n+1)%len(images)]
		if err := p.Update(ctx, d); err != nil {
			return err
		}
		if err := p.takenOver(ctx, lofn.Ref{Namespace: d.Namespace, Name: d.Service}); err != nil {
			return err
		}
		done++
		return nil
	})
	return counted(done, "redeployment"), err
}

// takenOver returns when a function has a replica, and all that serve are of
// what was deployed last.
func (p *platform) takenOver(ctx context.Context, ref lofn.Ref) error {
	for {
		status, err := p.Function(ctx, ref)
		if err != nil {
			return err
		}
		ready := slices.DeleteFunc(status.Instances, func(r lofn.Replica) bool { return r.State != lofn.Ready })
		if len(ready) > 0 && !slices.ContainsFunc(ready, func(r lofn.Replica) bool { return r.Generation != status.Generation }) {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
