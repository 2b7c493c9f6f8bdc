package app

import (
	"context"
	"errors"
	"fmt"

	"lofn/internal/provider/mux"
	"lofn/internal/provider/process"
)

// openRuntimes makes what runs functions.
func (p *platform) openRuntimes(ctx context.Context, contain openContainers, url string) (err error) {
	p.process, err = process.New(process.Config{
		RunDir:     p.data.join("run"),
		Images:     p.images,
		Secrets:    secretValues{p.secrets},
		Logs:       p.journal,
		Drain:      p.pool.Drain,
		Started:    p.metrics.ReplicaStarted,
		GatewayURL: url,
		Hide:       []string{p.data.path},
		Standby:    p.options.Standby,
		Log:        p.log,
	})
	if err != nil {
		return fmt.Errorf("process provider: %w", err)
	}
	c, err := contain(ctx, p)
	if err != nil {
		return fmt.Errorf("container provider: %w", err)
	}
	p.containers = lend(c)
	p.provider = mux.New(mux.Config{Process: p.process, Container: p.containers, Log: p.log})
	return nil
}

// closeRuntimes stops the processes and lets go of the containers, which go on.
func (p *platform) closeRuntimes(ctx context.Context) error {
	var err error
	if p.provider != nil {
		p.provider.Close()
	}
	if p.process != nil {
		err = p.process.Close(ctx)
	}
	if p.containers != nil {
		err = errors.Join(err, p.containers.Detach(ctx))
	}
	if err != nil && ctx.Err() != nil {
		// Their calls have been cut off already.
		p.log.Warn("some replicas did not end in time and were killed", "reason", err)
		err = nil
	}
	return err
}
