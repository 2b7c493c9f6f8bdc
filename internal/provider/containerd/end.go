package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"lofn"
	"lofn/internal/provider/containerd/cgroup"
)

// follow stays with the container until its processes have ended, and clears
// away what is left, unless the platform leaves it before.
func (c *container) follow() {
	if !c.process.wait(c.p.life) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.p.life), clearTime)
	defer cancel()
	usage, _ := c.group.Read()
	c.settle(usage.CPU)
	if c.p.Paused() && !c.stops() {
		// It may be another provider's, which will make it anew.
		c.err = errors.New("ended while another platform took over")
		close(c.done)
		c.p.strike(c)
		close(c.gone)
		return
	}
	status, err := c.p.daemon.deleteTask(ctx, c.id)
	words := c.lastWords(err == nil)
	c.err = c.fate(usage, status, err, words)
	close(c.done)
	c.clear(ctx)
}

// clearTime bounds how long clearing away may hold somebody up, clearPause is
// between later attempts.
const (
	clearTime  = 30 * time.Second
	clearPause = 5 * time.Second
)

// fate says how the container ended.
func (c *container) fate(usage cgroup.Usage, status int, err error, words string) error {
	how := "exited with status " + strconv.Itoa(status)
	if status > signalled && status <= signalled+lastSignal {
		how = "killed by " + unix.SignalName(unix.Signal(status-signalled))
	}
	if err != nil {
		how = "ended, and containerd does not know how"
	}
	switch {
	case usage.OOMKills > 0 && c.fn.Spec.Limits != nil:
		return fmt.Errorf("killed: over its memory limit of %s (%s)", c.fn.Spec.Limits.Memory, how)
	case usage.OOMKills > 0:
		return fmt.Errorf("killed: the machine has no memory left (%s)", how)
	case words != "":
		how += ": " + words
	}
	return errors.New(how)
}

// A status above signalled means that a signal ended the process.
const signalled, lastSignal = 128, 64

// settle ends the reading of what the container consumes.
func (c *container) settle(cpu time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.metered != nil {
		c.p.meter.End(c.metered, cpu)
		return
	}
	c.p.meter.Spend(c.fn.Ref, cpu)
}

// discard clears away a container that is not followed.
func (c *container) discard() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.p.life), clearTime)
	defer cancel()
	c.err = errors.New("it was not made")
	close(c.done)
	c.clear(ctx)
}

// clear removes what is left of the container. If it does not succeed, it goes
// on in the background.
func (c *container) clear(ctx context.Context) {
	defer close(c.gone)
	err := c.remove(ctx)
	if err == nil {
		return
	}
	c.p.config.Log.Warn("a container was not cleared away, trying again later", "function", c.fn.Ref, "instance", c.id, "error", err)
	go func() {
		for c.p.pause(clearPause) && c.remove(c.p.life) != nil {
		}
	}()
}

// remove removes what is left of the container.
func (c *container) remove(ctx context.Context) error {
	if err := c.p.daemon.raze(ctx, c.id); err != nil {
		return err
	}
	c.lastWords(false)
	if c.process != nil {
		c.process.close()
	} else if err := c.p.daemon.reap(func(id string) bool { return id == c.id }); err != nil {
		// It was being made when containerd was killed, or so.
		return err
	}
	c.network.Release(ctx)
	err := errors.Join(os.RemoveAll(c.p.dirOf(c.id)), os.RemoveAll(c.tmp()))
	c.p.strike(c)
	return err
}

// Stop implements fleet.Instance.
func (c *container) Stop(ctx context.Context) {
	c.mu.Lock()
	c.stopping = true
	c.mu.Unlock()
	c.mark()
	if !c.process.catches(unix.SIGTERM) {
		// The kernel does not pass it on to the first process of a container, and
		// the wait would be in vain.
		c.kill()
	}
	c.process.signal(unix.SIGTERM)
	grace := time.NewTimer(c.grace())
	defer grace.Stop()
	select {
	case <-c.done:
	case <-grace.C:
	case <-ctx.Done():
	}
	c.kill()
	select {
	case <-c.gone:
	case <-c.p.life.Done():
	}
}

// kill ends the container at once.
func (c *container) kill() { c.process.signal(unix.SIGKILL) }

// mark keeps a provider after this one from taking the container for one in
// service.
func (c *container) mark() {
	if err := os.WriteFile(c.file(drainingName), nil, 0o600); err != nil && !c.ended() {
		c.p.config.Log.Warn("that a replica is being stopped could not be written down", "function", c.fn.Ref, "instance", c.id, "error", err)
	}
}

const drainingName = "draining"

func (c *container) stops() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopping
}

func (c *container) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// grace is how long the container may take to end once it was asked to: what
// its calls may take, if the function says.
func (c *container) grace() time.Duration {
	for _, text := range []string{c.fn.Spec.Env["write_timeout"], c.fn.Spec.Env[lofn.EnvTimeout], c.fn.Defaults[lofn.EnvTimeout]} {
		if d, err := lofn.ParseSeconds(text); err == nil && d > 0 {
			return min(d, longestGrace)
		}
	}
	return defaultGrace
}

const defaultGrace, longestGrace = 10 * time.Second, time.Minute
