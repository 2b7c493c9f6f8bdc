package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"lofn"
)

// crowd is how long it took to have many containers up, and what they need.
type crowd struct {
	title string
	took  time.Duration
	// bytes are of all, beside what was there before: of the platform, of
	// containerd, of the shims and of what runs in the containers.
	platform, daemon, shims, functions float64
	// startups are the platform's own account.
	startups []lofn.Startup
}

// startsAtOnce is how many replicas the platform starts at one moment at most,
// which a rival does too.
func startsAtOnce() int { return 4 * runtime.NumCPU() }

// measureManyContainers has many containers up at once: of one function, of as
// many functions, and without the platform.
func measureManyContainers(ctx context.Context, b *box, o options) error {
	return b.onContainers(ctx, o, func(p *platform) error { return b.crowd(ctx, p, o) })
}

func (b *box) crowd(ctx context.Context, p *platform, o options) error {
	rival, err := b.newManyRivals(ctx, p, o.containers)
	if err != nil {
		return err
	}
	defer rival.remove()
	if err := p.sleepUntilSpare(ctx, benchRef(), true); err != nil {
		return err
	}
	all, err := p.gatherAll(ctx, []gathering{
		{"`ctr run`", rival.up, rival.down},
		{"lofn, one function", func(ctx context.Context) ([]lofn.Startup, error) { return p.manyReplicas(ctx, o.containers) }, p.removeMany},
		{"lofn, as many functions", func(ctx context.Context) ([]lofn.Startup, error) { return p.manyFunctions(ctx, o.containers) }, p.removeMany},
	})
	if err != nil {
		return err
	}
	reportCrowds(all, o.containers)
	return nil
}

// gathering is a way to have many containers up.
type gathering struct {
	title string
	up    func(context.Context) ([]lofn.Startup, error)
	down  func(context.Context) error
}

// gatherAll measures one after the other.
func (p *platform) gatherAll(ctx context.Context, ways []gathering) (all []crowd, err error) {
	for _, each := range ways {
		c, err := p.gather(ctx, each.up)
		if err == nil {
			err = each.down(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", each.title, err)
		}
		c.title = each.title
		all = append(all, c)
	}
	return all, nil
}

// gather measures how long up takes, and what there is more then.
func (p *platform) gather(ctx context.Context, up func(context.Context) ([]lofn.Startup, error)) (c crowd, err error) {
	before, err := p.crowd()
	if err != nil {
		return c, err
	}
	began := time.Now()
	startups, err := up(ctx)
	if err != nil {
		return c, err
	}
	took := time.Since(began)
	if c, err = p.crowd(); err != nil {
		return c, err
	}
	c.took, c.startups = took, startups
	c.platform, c.daemon, c.shims, c.functions = c.platform-before.platform, c.daemon-before.daemon, c.shims-before.shims, c.functions-before.functions
	return c, nil
}

// crowd adds up proportional set sizes. Who is neither the platform nor
// containerd nor a shim is in a container.
func (p *platform) crowd() (c crowd, err error) {
	all, err := allProcesses()
	if err != nil {
		return c, err
	}
	for _, each := range all {
		size, err := total([]int{each.pid}, proportionalSetSize)
		if err != nil {
			continue // the kernel has no sizes of its own processes
		}
		name := programOf(each.pid)
		switch {
		case each.pid == p.pid():
			c.platform += float64(size)
		case each.pid == p.box.daemon.Pid():
			c.daemon += float64(size)
		case strings.HasPrefix(name, "containerd-shim"):
			c.shims += float64(size)
		case name == "fwatchdog" || name == "handler":
			c.functions += float64(size)
		}
	}
	return c, nil
}

func reportCrowds(all []crowd, n int) {
	heading(fmt.Sprintf("%d containers at once", n), "From the first request until each of them has answered, %d started at one moment. `ctr run` is given networks that were made before; lofn makes them. Memory is proportional set size, as much as there is more than before, for each container.", startsAtOnce())
	rows := [][]string{{"", "until all answer", "for each", "× ctr run", "lofn", "containerd", "shim", "function"}}
	for _, c := range all {
		each := func(bytes float64) string { return mebibytes(bytes / float64(n)) }
		rows = append(rows, []string{
			c.title, fmt.Sprintf("%.1f s", c.took.Seconds()), milli(c.took / time.Duration(n)), fmt.Sprintf("%.2f", c.took.Seconds()/all[0].took.Seconds()),
			each(c.platform), each(c.daemon), each(c.shims), each(c.functions),
		})
	}
	table(1, rows)
	fmt.Print("The parts of the starts as `lofn describe` has them, medians.\n\n")
	parts := [][]string{partNames()[:partCount]}
	for _, c := range all[1:] {
		whole := make([]time.Duration, len(c.startups))
		for i, s := range c.startups {
			whole[i] = s.Total()
		}
		parts = append(parts, coldRounds{title: c.title, cold: whole, startups: c.startups}.parts()[:partCount])
	}
	table(1, parts)
}

// manyReplicas returns when a function has so many replicas, and each has
// answered.
func (p *platform) manyReplicas(ctx context.Context, n int) (startups []lofn.Startup, err error) {
	ref := lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "many"}
	d := lofn.Deployment{Service: ref.Name, Namespace: ref.Namespace, Image: p.image, Labels: map[string]string{lofn.LabelScaleMin: "0", lofn.LabelScaleMax: strconv.Itoa(n)}}
	if err := p.Create(ctx, d); err != nil {
		return nil, err
	}
	if err := p.Scale(ctx, ref, uint64(n)); err != nil {
		return nil, err
	}
	status, err := p.readyWithin(ctx, ref, uint64(n), crowdTime, crowdLook)
	if err != nil {
		return nil, err
	}
	for _, r := range status.Instances {
		startups = append(startups, r.Startup)
		if err := askOnce(r.Address, "/"); err != nil {
			return nil, fmt.Errorf("%s: %w", r.ID, err)
		}
	}
	return startups, nil
}

// manyFunctions returns when so many functions have a replica, which has
// answered a call.
func (p *platform) manyFunctions(ctx context.Context, n int) (startups []lofn.Startup, err error) {
	refs, _, err := p.deployMany(ctx, "many", n, nil)
	if err != nil {
		return nil, err
	}
	for _, ref := range refs {
		status, err := p.readyWithin(ctx, ref, 1, crowdTime, crowdLook)
		if err != nil {
			return nil, err
		}
		startups = append(startups, status.Instances[0].Startup)
		if err := askOnce(p.address, "/function/"+ref.Name); err != nil {
			return nil, fmt.Errorf("%s: %w", ref, err)
		}
	}
	return startups, nil
}

// crowdTime bounds how long it may take until all are ready, which is looked at
// every crowdLook.
const (
	crowdTime = 5 * time.Minute
	crowdLook = 50 * time.Millisecond
)

// fewNetworks is more than a platform with one function has waiting.
const fewNetworks = 20

// removeMany removes all functions but the first, and returns when what they had
// is gone: networks go last.
func (p *platform) removeMany(ctx context.Context) error {
	if err := p.removeAll(ctx, func(f lofn.FunctionStatus) bool { return strings.HasPrefix(f.Name, "many") }); err != nil {
		return err
	}
	for {
		all, err := net.Interfaces()
		if err != nil || len(all) < fewNetworks {
			return err
		}
		if err := pause(ctx, crowdLook); err != nil {
			return err
		}
	}
}

// manyRivals are started without the platform, each in a network made before.
type manyRivals struct {
	*ctrRun
	networks []*netns
}

func (b *box) newManyRivals(ctx context.Context, p *platform, n int) (m *manyRivals, err error) {
	m = &manyRivals{}
	for i := range n {
		in, err := newNetns(filepath.Join(b.dir, fmt.Sprint("network-", i)))
		if err != nil {
			m.remove()
			return nil, err
		}
		m.networks = append(m.networks, in)
	}
	m.ctrRun, err = b.newCtrRun(ctx, p, func(id string) *netns {
		i, _ := strconv.Atoi(id[strings.LastIndexByte(id, '-')+1:])
		return m.networks[i]
	})
	return m, err
}

func (m *manyRivals) remove() {
	for _, in := range m.networks {
		in.remove()
	}
}

// up starts all, as many at one moment as the platform does.
func (m *manyRivals) up(ctx context.Context) ([]lofn.Startup, error) {
	return nil, m.each(func(id string, in *netns) error {
		began := time.Now()
		if err := m.begin(ctx, id); err != nil {
			return err
		}
		return in.within(func() error {
			_, err := firstAnswer(ctx, began, containerAddress, "/")
			return err
		})
	})
}

func (m *manyRivals) down(ctx context.Context) error {
	return m.each(func(id string, _ *netns) error { return m.end(ctx, id) })
}

func (m *manyRivals) each(do func(id string, in *netns) error) error {
	turn := make(chan struct{}, startsAtOnce())
	failed := make([]error, len(m.networks))
	var all sync.WaitGroup
	for i, in := range m.networks {
		turn <- struct{}{}
		all.Go(func() {
			defer func() { <-turn }()
			failed[i] = do(fmt.Sprint("ctr-", i), in)
		})
	}
	all.Wait()
	return errors.Join(failed...)
}
