package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"syscall"
	"time"

	"lofn"
)

// every does something at fixed intervals until ctx ends, and returns how
// often it did.
func every(ctx context.Context, interval time.Duration, do func(n int) error) (int, error) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return n, nil
		}
		if err := do(n); err != nil {
			if ctx.Err() != nil {
				return n, nil
			}
			return n, err
		}
	}
}

func leaveAlone(context.Context, *platform, lofn.Deployment) (string, error) { return "", nil }

func redeploy(ctx context.Context, p *platform, d lofn.Deployment) (string, error) {
	n, err := every(ctx, 2*time.Second, func(n int) error {
		d.EnvVars = map[string]string{"deployment": strconv.Itoa(n)}
		return p.Update(ctx, d)
	})
	return counted(n, "redeployment"), err
}

func scaleUpAndDown(ctx context.Context, p *platform, d lofn.Deployment) (string, error) {
	return scaleEvery(ctx, time.Second, p, d)
}

func scaleEvery(ctx context.Context, interval time.Duration, p *platform, d lofn.Deployment) (string, error) {
	n, err := every(ctx, interval, func(n int) error {
		replicas := []uint64{4, 1}[n%2]
		return p.Scale(ctx, lofn.Ref{Namespace: d.Namespace, Name: d.Service}, replicas)
	})
	return counted(n, "change"), err
}

// upgrade has the platform start itself anew, and fails if it did not.
func upgrade(ctx context.Context, p *platform, _ lofn.Deployment) (string, error) {
	told, upgraded := 0, 0
	_, err := every(ctx, 5*time.Second, func(int) error {
		pids, err := p.serving()
		if err != nil {
			return err
		}
		newest := pids[len(pids)-1]
		if newest == told {
			return errors.New("the platform did not start anew within 5 s of SIGHUP")
		}
		if told != 0 {
			upgraded++
		}
		told = newest
		return syscall.Kill(newest, syscall.SIGHUP)
	})
	return counted(upgraded, "upgrade"), err
}

// killReplicas kills the replica that has been ready for longest. One that has
// ended since it was listed is none.
func killReplicas(ctx context.Context, p *platform, d lofn.Deployment) (string, error) {
	killed := 0
	_, err := every(ctx, time.Second, func(int) error {
		status, err := p.Function(ctx, lofn.Ref{Namespace: d.Namespace, Name: d.Service})
		if err != nil {
			return err
		}
		ready := slices.DeleteFunc(status.Instances, func(r lofn.Replica) bool { return r.State != lofn.Ready })
		if len(ready) == 0 {
			return nil
		}
		oldest := slices.MinFunc(ready, func(a, b lofn.Replica) int { return a.Since.Compare(b.Since) })
		found, err := killInstance(oldest.ID)
		if found {
			killed++
		}
		return err
	})
	return counted(killed, "kill"), err
}

// killInstance kills the processes of an instance, and reports whether there
// were any.
func killInstance(id string) (found bool, err error) {
	pids, err := pidsOf(id)
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return true, err
		}
	}
	return len(pids) > 0, err
}
