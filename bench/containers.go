package main

import (
	"context"
	"errors"
)

// calledContainers measures calls and latency where the function is a
// container: the watchdog in it serves what is direct, too.
func calledContainers(ctx context.Context, b *box, o options) error {
	return b.onContainers(ctx, o, func(p *platform) error {
		return errors.Join(measureCalls(ctx, p, o), measureLatency(ctx, p, o))
	})
}

// onContainers measures on a platform of its own, which runs containers.
func (b *box) onContainers(ctx context.Context, o options, measure func(*platform) error) error {
	p, err := b.startContainers(ctx, o, 0)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := describeMachine(ctx, p); err != nil {
		return err
	}
	return measure(p)
}
