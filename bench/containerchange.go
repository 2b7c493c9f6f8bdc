package main

import (
	"context"
	"strings"
	"time"

	"lofn"
)

// containerRate is the least that calls per second are divided by where a
// function is a container: a replica costs more of the processors to start, and
// they are to have some of their time left.
const containerRate = 3

// measureContainerChange is measureChange of containers, of two images in turn.
func measureContainerChange(ctx context.Context, b *box, o options) error {
	p, err := b.startContainers(ctx, o, 0)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := describeMachine(ctx, p); err != nil {
		return err
	}
	images := []string{p.image}
	other, err := p.up(ctx, lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "other"}, benchLanguage, map[string]string{
		"handler.go": strings.ReplaceAll(handler, `"ok\n"`, `"fine\n"`), "go.mod": benchModule,
	})
	if err != nil {
		return err
	}
	images = append(images, other.Image)
	o.rate /= containerRate
	return p.endureAll(ctx, []phase{
		{"steady", "nothing", "POST", 1, leaveAlone},
		{"images", "another image every 2 s", "POST", 1, func(ctx context.Context, p *platform, d lofn.Deployment) (string, error) {
			n, err := every(ctx, 2*time.Second, func(n int) error {
				d.Image = images[(n+1)%len(images)]
				return p.Update(ctx, d)
			})
			return counted(n, "redeployment"), err
		}},
		{"scale", "4 replicas, then 1, every 2 s", "POST", 1, func(ctx context.Context, p *platform, d lofn.Deployment) (string, error) {
			return scaleEvery(ctx, 2*time.Second, p, d)
		}},
		{"kill", "`kill -9` of one of 3 replicas every second", "GET", 3, killReplicas},
		{"upgrade", "a new process of the platform every 5 s, by SIGHUP", "POST", 1, upgrade},
	}, o)
}
