package containerd

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"lofn"
)

// Annotations with the path that says whether a function is ready, or at least
// well; healthPath is where the watchdogs of OpenFaaS have the latter.
const (
	annotationReady  = "com.openfaas.ready.http.path"
	annotationHealth = "com.openfaas.health.http.path"
	healthPath       = "/_/health"
)

// await returns when the container accepts calls.
func (c *container) await(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, c.readyTime())
	defer cancel()
	began := time.Now()
	if err := c.until(limited, began, c.listens); err != nil {
		return c.late(ctx, err, c.unheard)
	}
	c.startup.Listen = time.Since(began)
	began = time.Now()
	err := c.until(limited, began, c.serves)
	if err != nil {
		return c.late(ctx, err, func() error { return err })
	}
	c.startup.Accept = time.Since(began)
	return nil
}

// late returns what kept the container from getting ready: its end, the end of
// ctx, or what why says.
func (c *container) late(ctx context.Context, err error, why func() error) error {
	if ctx.Err() != nil || c.ended() {
		return err
	}
	if c.process.ended() {
		return c.outcome(ctx)
	}
	return fmt.Errorf("not ready within %s: %w", c.readyTime(), why())
}

// outcome returns how the container ended whose process has. It takes a moment
// to find out, which on a slow machine is longer than some wait for readiness.
func (c *container) outcome(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	case <-c.p.life.Done():
		return context.Cause(c.p.life)
	}
}

// until looks until there is no error any more. When ctx ends it returns that of
// the last look.
func (c *container) until(ctx context.Context, began time.Time, look func(context.Context) error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last error
	for {
		select {
		case <-timer.C:
		case <-c.done:
			return c.err
		case <-ctx.Done():
			return cmp.Or(last, ctx.Err())
		}
		err := look(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		timer.Reset(pause(time.Since(began)))
	}
}

// pause is the time until the next look: short at first, since most are ready
// soon, and a look costs a few microseconds.
func pause(passed time.Duration) time.Duration {
	return min(max(passed/64, 250*time.Microsecond), 100*time.Millisecond)
}

// listens looks whether somebody accepts connections.
func (c *container) listens(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.endpoint())
	if err != nil {
		return err
	}
	return conn.Close()
}

// unheard says why nobody does.
func (c *container) unheard() error {
	if ports := c.process.listening(); len(ports) > 0 {
		return fmt.Errorf("nothing listens on port %s of all its addresses, but on %s: functions must listen on 0.0.0.0:%s, or have a watchdog that does", functionPort, strings.Join(ports, ", "), functionPort)
	}
	return fmt.Errorf("nothing listens on port %s, nor on any other", functionPort)
}

// serves looks whether the container is well, and what its watchdog passes calls
// to is there.
func (c *container) serves(ctx context.Context) error {
	if err := c.healthy(ctx); err != nil {
		return err
	}
	return c.upstream()
}

// healthy asks the container. One that has no such path is well: not every
// image that listens on the port has a watchdog in it.
func (c *container) healthy(ctx context.Context) error {
	path := cmp.Or(c.fn.Spec.Annotations[annotationReady], c.fn.Spec.Annotations[annotationHealth], healthPath)
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
		return fmt.Errorf("a GET of %s is answered with status %d", path, response.StatusCode)
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
