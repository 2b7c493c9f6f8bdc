package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"lofn"
)

// annotationHealth is the path that says whether a function is well, healthPath
// where the watchdogs of OpenFaaS have it.
const (
	annotationHealth = "com.openfaas.health.http.path"
	healthPath       = "/_/health"
)

// errNotYet is the answer of a container that is not ready.
var errNotYet = errors.New("not ready")

// await returns when the container accepts calls.
func (c *container) await(ctx context.Context) error {
	limit := c.readyTime()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("did not answer on port %s within %s", functionPort, limit))
	defer cancel()
	began := time.Now()
	if err := c.until(ctx, began, c.listens); err != nil {
		return err
	}
	c.startup.Listen = time.Since(began)
	began = time.Now()
	if err := c.until(ctx, began, c.healthy); err != nil {
		return err
	}
	c.startup.Accept = time.Since(began)
	return nil
}

// until looks until there is no error any more.
func (c *container) until(ctx context.Context, began time.Time, look func(context.Context) error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-c.done:
			return c.err
		case <-ctx.Done():
			return c.late(ctx)
		}
		if look(ctx) == nil {
			return nil
		}
		timer.Reset(pause(time.Since(began)))
	}
}

// late says why the container is not ready, with its own words.
func (c *container) late(ctx context.Context) error {
	err := context.Cause(ctx)
	select {
	case <-c.done:
		return c.err
	default:
	}
	return err
}

// pause is the time until the next look: short at first, since most are ready
// soon, and a look costs a few microseconds.
func pause(passed time.Duration) time.Duration {
	return min(max(passed/64, 250*time.Microsecond), 100*time.Millisecond)
}

func (c *container) listens(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.endpoint())
	if err != nil {
		return err
	}
	return conn.Close()
}

// healthy asks the container. One that has no such path is well: not every
// image that listens on the port has a watchdog in it.
func (c *container) healthy(ctx context.Context) error {
	path := cmp.Or(c.fn.Spec.Annotations[annotationHealth], healthPath)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.endpoint()+path, nil)
	if err != nil {
		return err
	}
	request.Close = true
	response, err := c.p.probe.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusInternalServerError {
		return errNotYet
	}
	return nil
}

// readyTime bounds the time until the container answers.
func (c *container) readyTime() time.Duration {
	if d, err := lofn.ParseSeconds(c.fn.Spec.Env[envReadyTimeout]); err == nil && d > 0 {
		return d
	}
	return c.p.config.ReadyTimeout
}

const envReadyTimeout = "ready_timeout"
