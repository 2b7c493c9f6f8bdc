package cli

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
	"lofn/internal/build"
	"lofn/internal/stack"
)

// keeper deploys functions again when their files change.
type keeper struct {
	p   *program
	up  *upFlags
	cmd *cobra.Command
	// client and push are how the platform is reached.
	client *client.Client
	push   build.PushOptions
	watch  *watch
	// stack is the stack file as last read without a mistake.
	stack *stack.Stack
	// deployed, if not nil, is called with each function that was accepted.
	deployed func(lofn.Ref)

	mu sync.Mutex
	// done has the functions whose last build is deployed.
	done map[string]bool
}

// newKeeper watches from now on, so that nothing is missed that is saved while
// the functions are deployed for the first time. The caller closes it.
func newKeeper(up *upFlags, cmd *cobra.Command, s *stack.Stack) (*keeper, error) {
	c, err := up.connect(cmd)
	if err != nil {
		return nil, err
	}
	push, err := up.pushOptions(cmd)
	if err != nil {
		return nil, err
	}
	w, err := newWatch(s)
	if err != nil {
		return nil, err
	}
	return &keeper{
		p: up.p, up: up, cmd: cmd, client: c, push: push, watch: w, stack: s, done: map[string]bool{},
	}, nil
}

// everything deploys all functions for the first time.
func (k *keeper) everything(ctx context.Context) {
	c := newChange()
	c.since = time.Now()
	for _, f := range k.stack.Functions {
		c.add(f.Name, "", true)
	}
	k.redeploy(ctx, c)
}

func (k *keeper) close() { k.watch.close() }

// run deploys what changes until the context ends. No mistake in a file ends
// it.
func (k *keeper) run(ctx context.Context) error {
	k.note("watching %s: save a file to deploy again, Ctrl-C to end", plural(len(k.stack.Functions), "function"))
	for {
		c, err := k.watch.next(ctx)
		if err != nil {
			return err
		}
		if c.stack {
			k.reload(&c)
			if err := k.watch.follow(k.stack); err != nil {
				return err
			}
		}
		k.redeploy(ctx, c)
	}
}

func (k *keeper) note(format string, args ...any) {
	k.p.outf(time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}

// reload reads the stack file and adds the functions whose entry changed.
func (k *keeper) reload(c *change) {
	s, err := k.up.source.load(k.cmd)
	if err != nil {
		k.note("%s", k.plain(err))
		return
	}
	for _, f := range s.Functions {
		old := k.stack.Function(f.Name)
		if old == nil || !sameFunction(*old, f) || !reflect.DeepEqual(k.stack.Configuration, s.Configuration) {
			c.add(f.Name, relative(s.File), true)
			k.setDone(f.Name, false)
		}
	}
	for _, f := range k.stack.Functions {
		if s.Function(f.Name) == nil {
			k.note("%s: is not in %s any more; it runs on until \"lofn remove %s\"", f.Name, relative(s.File), f.Name)
		}
	}
	k.stack = s
}

// sameFunction reports whether an entry says the same, wherever it stands.
func sameFunction(a, b stack.Function) bool {
	a.Line, b.Line = 0, 0
	return reflect.DeepEqual(a, b)
}

// redeploy takes each function that changed through build, push and deploy.
// What goes wrong with one is said, and ends nothing.
func (k *keeper) redeploy(ctx context.Context, c change) {
	_ = inParallel(ctx, k.up.parallel, c.functions(), func(ctx context.Context, name string) error {
		f := k.stack.Function(name)
		if f == nil {
			return nil
		}
		if files := c.named(name); files != "" {
			k.note("%s: %s changed", name, files)
		}
		did, err := k.one(ctx, *f, c.rebuild[name])
		if err == nil {
			k.note("%s: %s (%s)", name, did, seconds(time.Since(c.since)))
		} else if ctx.Err() == nil && !errors.Is(err, errReported) {
			k.note("%s: %s", name, k.plain(err))
		}
		return err
	})
}

// plain explains an error without naming the program.
func (k *keeper) plain(err error) string { return strings.TrimPrefix(k.p.explain(err), "lofn: ") }

// one takes one function through, and says how it ended.
func (k *keeper) one(ctx context.Context, f stack.Function, rebuild bool) (string, error) {
	if rebuild && !f.SkipBuild {
		same, err := k.image(ctx, f)
		if err != nil {
			return "", err
		}
		if same && k.isDone(f.Name) {
			return "the image is the same as before", nil
		}
	}
	d, c := &k.up.deployFlags, k.client
	deployment, err := d.deployment(k.cmd, f, k.up.source.tag)
	if err != nil {
		return "", err
	}
	if _, err := d.put(ctx, c, deployment); err != nil {
		return "", err
	}
	k.setDone(f.Name, true)
	ref := lofn.Ref{Namespace: deployment.Namespace, Name: deployment.Service}
	if k.deployed != nil {
		k.deployed(ref)
	}
	limited, extend, cancel := d.patience(ctx)
	defer cancel()
	_, err = awaitFunction(limited, c, ref, func(string) { extend() })
	return "ready at " + functionURL(c, ref, "function"), err
}

// image builds and pushes, and reports whether the image is the same as that of
// the build before. A build that is not deployed yet counts as another one.
func (k *keeper) image(ctx context.Context, f stack.Function) (same bool, err error) {
	only := *k.stack
	only.Functions = []stack.Function{f}
	requests, err := k.up.buildFlags.requests(k.cmd, &only, k.up.source.tag)
	if err != nil {
		return false, err
	}
	r := requests[0]
	if err := k.p.pullMissing(ctx, &only, requests, k.up.noPull, !k.up.overwrite); err != nil {
		return false, err
	}
	t := k.p.newBoard(true).begin(f.Name)
	r.Log = t
	result, err := build.Build(ctx, r)
	if err != nil {
		t.fail("not built", err)
		return false, errReported
	}
	if !result.Cached {
		k.setDone(f.Name, false)
	}
	if k.up.skipPush || result.Cached && k.isDone(f.Name) {
		return result.Cached, nil
	}
	_, err = build.Push(ctx, r.Images, r.Image, k.push)
	return result.Cached, err
}

func (k *keeper) isDone(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.done[name]
}

func (k *keeper) setDone(name string, done bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.done[name] = done
}
