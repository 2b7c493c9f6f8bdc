package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/typeurl/v2"
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
	p     *Provider
	id    string
	fn    lofn.Function
	wants lofn.Container
	image content.Image
	// env is what its first process has.
	env     []string
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
	given, err := p.secrets.Read(ctx, fn)
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
	if err := c.assemble(ctx, given.Values); err != nil {
		c.discard()
		return nil, fmt.Errorf("the container cannot be made: %w", err)
	}
	go c.follow()
	if err := p.secrets.CatchUp(ctx, fn, given, c.writeSecret); err != nil {
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
	c.env = spec.Process.Env
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
