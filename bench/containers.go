package main

import (
	"context"
	"errors"
)

// calledContainers measures calls and latency where the function is a
// container: the watchdog in it serves what is direct, too.
func calledContainers(ctx context.Context, b *box, o options) error {
	p, err := b.startContainers(ctx, o, 0)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := describeMachine(ctx, p); err != nil {
		return err
	}
	return errors.Join(measureCalls(ctx, p, o), measureLatency(ctx, p, o))
}
