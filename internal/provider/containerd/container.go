package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"lofn"
	"lofn/internal/provider/containerd/cgroup"
	"lofn/internal/provider/containerd/content"
	"lofn/internal/provider/containerd/network"
	"lofn/internal/provider/fleet"
)

// container is one container, from when its making begins until nothing is left
// of it. It has been made when its first process exists and waits to be started.
type container struct {
	p       *Provider
	id      string
	fn      lofn.Function
	wants   lofn.Container
	image   content.Image
	network *network.Network
	group   *cgroup.Group
	// process is nil until there is one.
	process *process
	startup lofn.Startup

	mu sync.Mutex
	// output is nil while nobody reads what the container writes.
	output *output
	// metered is nil until the container was started.
	metered *fleet.Metered
	// stopping is set once the container is being stopped.
	stopping bool

	// done is closed when its processes have ended, err says how; gone is
	// closed when nothing is left of it.
	done, gone chan struct{}
	err        error
}

// Labels by which a container is found again, and the extension that has its
// function.
const (
	labelPlatform     = "lofn.dev/platform"
	labelFunction     = "lofn.dev/function"
	labelNetwork      = "lofn.dev/network"
	extensionFunction = "lofn.dev/function"
)

func (p *Provider) newContainer(id string, fn lofn.Function) *container {
	wants, _ := fn.Spec.Container()
	return &container{
		p: p, id: id, fn: fn, wants: wants, group: p.groups.Group(id),
		done: make(chan struct{}), gone: make(chan struct{}),
	}
}

// make makes a container. What it began is removed again if it fails.
func (p *Provider) make(ctx context.Context, fn lofn.Function, id string, progress func(string)) (*container, error) {
	if err := p.awaitGone(ctx, id); err != nil {
		return nil, err
	}
	c := p.newContainer(id, fn)
	synced, secrets, err := p.secrets(ctx, fn)
	if err != nil {
		return nil, err
	}
	if c.image, err = p.image(ctx, fn, progress); err != nil {
		return nil, err
	}
	if c.network, err = p.networks.Take(ctx); err != nil {
		return nil, err
	}
	p.enlist(c)
	if err := c.assemble(ctx, secrets); err != nil {
		c.discard()
		return nil, fmt.Errorf("the container cannot be made: %w", err)
	}
	go c.follow()
	if err := p.catchUp(ctx, c, synced); err != nil {
		c.kill()
		return nil, err
	}
	return c, nil
}

// assemble puts together what is known of the container.
func (c *container) assemble(ctx context.Context, secrets map[string][]byte) error {
	if err := c.furnish(secrets); err != nil {
		return err
	}
	if err := c.listen(); err != nil {
		return err
	}
	rootfs, err := c.p.daemon.snapshot(ctx, c.id, c.image.Parent, c.p.config.Platform)
	if err != nil {
		return err
	}
	if err := c.record(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	pid, err := c.p.daemon.createTask(ctx, c.id, rootfs, c.file(stdoutName), c.file(stderrName))
	if err != nil {
		return explain(err)
	}
	c.process, err = openProcess(pid)
	return err
}

// record makes the container known to containerd, with all that it takes to go
// on with it after this process has ended.
func (c *container) record(ctx context.Context) error {
	r := containers.Container{
		ID: c.id, Image: c.image.Record.Name(), Snapshotter: snapshotter, SnapshotKey: c.id,
		Runtime: containers.RuntimeInfo{Name: runtimeName},
		Labels: map[string]string{
			labelPlatform: c.p.config.Platform, labelFunction: c.fn.Host(), labelNetwork: c.network.ID(),
		},
	}
	text, err := json.Marshal(c.fn)
	if err != nil {
		return err
	}
	r.Extensions = map[string]typeurl.Any{extensionFunction: &anypb.Any{TypeUrl: extensionFunction, Value: text}}
	spec, err := c.spec(ctx, &r)
	if err != nil {
		return fmt.Errorf("its description: %w", err)
	}
	if r.Spec, err = typeurl.MarshalAny(spec); err != nil {
		return err
	}
	_, err = c.p.daemon.client.ContainerService().Create(c.p.daemon.in(ctx), r)
	return err
}

// start has the container run its program, and returns once that accepts calls.
func (c *container) start(ctx context.Context) error {
	began := time.Now()
	c.mu.Lock()
	c.metered = c.p.meter.Begin(c.fn.Ref, c.consumed)
	c.mu.Unlock()
	if err := c.p.daemon.startTask(ctx, c.id); err != nil {
		return explain(err)
	}
	c.startup.Exec = time.Since(began)
	return c.await(ctx)
}

// consumed returns the CPU time that the container has used and the memory, in
// bytes, that it has.
func (c *container) consumed() (cpu time.Duration, memory int64) {
	usage, err := c.group.Read()
	if err != nil {
		return 0, 0
	}
	return usage.CPU, usage.Memory
}

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
	}
	c.network.Release(ctx)
	err := errors.Join(os.RemoveAll(c.p.dirOf(c.id)), os.RemoveAll(c.tmp()))
	c.p.strike(c)
	return err
}

// Address implements fleet.Instance.
func (c *container) Address() (network, address string) { return "tcp", c.endpoint() }

// endpoint is where the container serves.
func (c *container) endpoint() string { return c.network.Address().String() + ":" + functionPort }

// functionPort is where functions listen, by the OpenFaaS contract.
const functionPort = "8080"

// Done implements fleet.Instance.
func (c *container) Done() <-chan struct{} { return c.done }

// Err implements fleet.Instance.
func (c *container) Err() error { return c.err }

// Startup implements fleet.Instance.
func (c *container) Startup() lofn.Startup { return c.startup }

// Stop implements fleet.Instance.
func (c *container) Stop(ctx context.Context) {
	c.mu.Lock()
	c.stopping = true
	c.mu.Unlock()
	c.mark()
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

// listen begins to read what the container writes, mute stops: then it waits in
// the pipes for the next reader.
func (c *container) listen() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.output != nil || c.ended() {
		return nil
	}
	o, err := openOutput(c.p.dirOf(c.id), c.p.buffers, func() io.WriteCloser { return c.p.config.Logs.Writer(c.fn.Ref, c.id) })
	if err == nil {
		c.output = o
	}
	return err
}

func (c *container) mute() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.output != nil {
		c.output.leave()
		c.output = nil
	}
}

// lastWords ends the reading of what the container wrote, at its end if all of
// it has been passed on to the pipes, and returns what best says why the
// container ended.
func (c *container) lastWords(complete bool) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.output == nil {
		return ""
	}
	if complete {
		c.output.end()
	} else {
		c.output.leave()
	}
	words := c.output.lastWords()
	c.output = nil
	return words
}

// grace is how long the container may take to end once it was asked to.
func (c *container) grace() time.Duration {
	policy, _ := c.fn.Policy()
	return min(max(policy.Timeout, shortestGrace), longestGrace)
}

const shortestGrace, longestGrace = 10 * time.Second, time.Minute
