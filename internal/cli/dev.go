package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
)

// devFlags are the flags of `dev`: those of `up`, and some of `serve`.
type devFlags struct {
	upFlags
	data   string
	noLogs bool
}

func (p *program) devCommand() *cobra.Command {
	d := devFlags{upFlags: newUpFlags(p)}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Serve, build and deploy, and again whatever is saved",
		Long: `Deploys the functions of the stack file, and each again when one of its files
changes: its handler, its template, its environment files or the stack file. What
the functions write is shown as they write it.

If no platform answers at the gateway's address and that is on this machine, one
is run for as long as the command, in a folder of its own that is removed at the
end, or in --data.`,
		Example: "  lofn dev\n  lofn dev --filter hello --data ./.lofn",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return d.run(cmd) },
	}
	d.add(cmd)
	cmd.Flags().StringVar(&d.data, "data", "", "folder for the platform that is run, kept at the end")
	cmd.Flags().BoolVar(&d.noLogs, "no-logs", false, "do not show what the functions write")
	_ = cmd.MarkFlagDirname("data")
	return cmd
}

func (d *devFlags) run(cmd *cobra.Command) (err error) {
	s, err := d.source.load(cmd)
	if err != nil {
		return err
	}
	platform, err := d.platform(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, platform.stop()) }()
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	k, err := newKeeper(&d.upFlags, cmd, s)
	if err != nil {
		return err
	}
	defer k.close()
	if !d.noLogs {
		logs := shownLogs{p: k.p, c: k.client, since: time.Now(), shown: map[lofn.Ref]bool{}}
		k.deployed = func(ref lofn.Ref) { logs.show(ctx, ref) }
		defer logs.wait()
		defer cancel()
	}
	k.everything(ctx)
	err = k.run(ctx)
	if cmd.Context().Err() != nil {
		// Ctrl-C is how the command is meant to end.
		k.note("stopped")
		return nil
	}
	return err
}

// ownPlatform is the platform that runs for as long as `dev`, if any.
type ownPlatform struct {
	end   context.CancelFunc
	ended chan error
	// undo takes back what was done for the platform, last first.
	undo []func()
}

// stop ends the platform and returns why it had ended before, if it had.
func (o *ownPlatform) stop() error {
	var err error
	if o.end != nil {
		o.end()
		err = <-o.ended
	}
	for i := len(o.undo) - 1; i >= 0; i-- {
		o.undo[i]()
	}
	return err
}

// platform finds the platform at the gateway's address, or runs one there.
func (d *devFlags) platform(cmd *cobra.Command) (*ownPlatform, error) {
	c, err := d.connect(cmd)
	if err != nil {
		return nil, err
	}
	p := d.deployFlags.p
	ctx, cancel := context.WithTimeout(cmd.Context(), versionTimeout)
	defer cancel()
	err = c.Healthy(ctx)
	if err == nil {
		p.notef("using the platform at %s\n", c.URL())
		return &ownPlatform{}, d.checkLogin(cmd)
	}
	_, unreachable := errors.AsType[*client.UnreachableError](err)
	u, _ := url.Parse(c.URL())
	if !unreachable || !isLoopback(u.Hostname()) || u.Scheme != "http" {
		return nil, err
	}
	if p.Serve == nil {
		return nil, errCannotServe
	}
	if err := p.isolate(""); err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	return d.serve(cmd.Context(), net.JoinHostPort(u.Hostname(), port), c.URL())
}

// serve runs a platform and makes this command log in to it.
func (d *devFlags) serve(ctx context.Context, listen, address string) (*ownPlatform, error) {
	p := d.deployFlags.p
	own := &ownPlatform{ended: make(chan error, 1)}
	data, err := d.dataFolder(own)
	if err != nil {
		return nil, err
	}
	// The platform outlives the end of ctx by as much as the logs need.
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	own.end = end
	ready := make(chan ServeInfo, 1)
	go func() {
		own.ended <- p.Serve(serving, ServeOptions{
			Queue:  QueueOptions{Limits: lofn.DefaultQueueLimits},
			Listen: listen, MetricsListen: "127.0.0.1:0", Data: data, Provider: defaultProvider, Standby: defaultStandby, Quiet: true,
			Ready: func(info ServeInfo) { ready <- info },
		})
	}()
	select {
	case info := <-ready:
		p.notef("lofn serves at %s (data in %s)\n", address, data)
		p.session = basicLogin(address, info.User, info.Password)
		own.undo = append(own.undo, p.lendLogin(p.session))
		return own, nil
	case err := <-own.ended:
		own.end, own.ended = nil, nil
		_ = own.stop()
		return nil, fmt.Errorf("serve at %s: %w", listen, err)
	case <-ctx.Done():
		_ = own.stop()
		return nil, ctx.Err()
	}
}

func (d *devFlags) dataFolder(own *ownPlatform) (string, error) {
	if d.data != "" {
		return filepath.Abs(d.data)
	}
	data, err := os.MkdirTemp("", "lofn-dev-*")
	if err != nil {
		return "", fmt.Errorf("make a folder for the platform: %w", err)
	}
	own.undo = append(own.undo, func() { _ = os.RemoveAll(data) })
	return data, nil
}

// lendLogin lets other commands talk to the platform while it runs. A login
// that the user has for the same address stays. The return value takes the
// entry back.
func (p *program) lendLogin(entry login) func() {
	logins, err := p.openLogins()
	if err != nil {
		return func() {}
	}
	if theirs, taken := logins.find(entry.Gateway); taken {
		if theirs.Token == entry.Token {
			return func() {}
		}
		p.notef("note: your login for %s is for another platform; other commands cannot control this one\n", entry.Gateway)
		return func() {}
	}
	if err := p.keepLogin(entry); err != nil {
		p.notef("note: other commands cannot control this platform: %v\n", err)
		return func() {}
	}
	return func() {
		logins, err := p.openLogins()
		if err != nil {
			return
		}
		if now, ok := logins.find(entry.Gateway); ok && now.Token == entry.Token {
			logins.remove(entry.Gateway)
			_ = logins.save()
		}
	}
}

// shownLogs prints what functions write, with the function's name before it.
type shownLogs struct {
	p     *program
	c     *client.Client
	since time.Time

	mu    sync.Mutex
	shown map[lofn.Ref]bool
	done  sync.WaitGroup
}

// show begins with a function that is not shown yet.
func (s *shownLogs) show(ctx context.Context, ref lofn.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown[ref] {
		return
	}
	s.shown[ref] = true
	s.done.Go(func() {
		query := lofn.LogQuery{Function: ref, Follow: true, Since: s.since}
		runs := crashes{}
		for line, err := range s.p.followLogs(ctx, s.c, query) {
			if err != nil {
				break
			}
			if !runs.repeats(line) {
				s.p.outf("%s | %s\n", display(ref), line.Text)
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.shown, ref)
	})
}

func (s *shownLogs) wait() { s.done.Wait() }
