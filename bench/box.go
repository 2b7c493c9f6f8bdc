package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"lofn"
	"lofn/internal/app"
)

// box is a containerd of the benchmark's own, in namespaces of its own, with a
// folder for what is started in them for comparison.
type box struct {
	daemon *ownContainerd
	dir    string
}

// contained has a section measured in a box of its own.
func contained(measure func(context.Context, *box, options) error) func(context.Context, *platform, options) error {
	return func(ctx context.Context, _ *platform, o options) (err error) {
		dir, err := os.MkdirTemp("", "lofn-bench-box-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		daemon, err := startContainerd(dir)
		if err != nil {
			return err
		}
		defer daemon.Stop()
		return measure(ctx, &box{daemon, dir}, o)
	}
}

// startContainers starts a platform that runs its functions in containers. The
// number tells several of them apart: each has addresses of its own.
func (b *box) startContainers(ctx context.Context, o options, number int, flags ...string) (*platform, error) {
	p := &platform{
		box: b, namespace: fmt.Sprintf("lofn%d", number), subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(62 + number)}), 16),
		build: []string{"--runtime", "container"},
	}
	p.flags = append([]string{
		"--provider", "containerd", "--containerd-socket", b.daemon.Socket, "--containerd-namespace", p.namespace,
		"--container-subnet", p.subnet.String(),
	}, flags...)
	return p, p.open(ctx, o.lofn)
}

// title says of what kind of functions a section is.
func (p *platform) title(text string) string {
	if p.box != nil {
		text += ": containers"
	}
	return text
}

// ctr runs containerd's own client, and returns what it prints.
func (b *box) ctr(ctx context.Context, namespace string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "ctr", append([]string{"--address", b.daemon.Socket, "--namespace", namespace}, args...)...)
	output, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, output)
	}
	return string(output), nil
}

// clearTime is how long it may take to remove all that a platform has.
const clearTime = time.Minute

// clear removes what a platform that has ended leaves on the machine, as its
// containers outlive it, in the way that `lofn uninstall` does. What stays in
// spite of it the namespaces' first process will name.
func (p *platform) clear() {
	if p.box == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), clearTime)
	defer cancel()
	if err := app.Clear(ctx, app.Options{Provider: app.ProviderContainerd, Data: p.data, Containers: app.ContainerOptions{
		Socket: p.box.daemon.Socket, Namespace: p.namespace, Subnet: p.subnet,
	}}); err != nil {
		fmt.Fprintln(os.Stderr, "bench: not all containers were removed:", err)
	}
}

// removeAll removes some functions, and returns when there is no more than one
// container for each of the others.
func (p *platform) removeAll(ctx context.Context, which func(lofn.FunctionStatus) bool) error {
	functions, err := p.Functions(ctx, lofn.DefaultNamespace)
	if err != nil {
		return err
	}
	kept := 0
	for _, f := range functions {
		if !which(f) {
			kept++
			continue
		}
		if err := p.Remove(ctx, lofn.Ref{Namespace: f.Namespace, Name: f.Name}); err != nil {
			return err
		}
	}
	for {
		left, err := p.box.ctr(ctx, p.namespace, "containers", "list", "--quiet")
		if err != nil || len(strings.Fields(left)) <= kept {
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}
