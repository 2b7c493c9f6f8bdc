// Package app puts the platform together. It is the only package that knows
// which adapters are in use, and holds no logic besides: what it does is start
// the parts in order, connect them, and stop them in reverse.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"lofn"
	"lofn/internal/auth"
	"lofn/internal/auth/basic"
	"lofn/internal/certs"
	"lofn/internal/handover"
	"lofn/internal/promquery"
	"lofn/internal/provider/process"
)

// Options is what a user can say about the platform.
type Options struct {
	// Listen and MetricsListen are addresses as net.Listen takes them for tcp.
	Listen, MetricsListen string
	// Data is the folder that keeps everything. It is created if missing.
	Data string
	// Provider is one of Providers. With ProviderContainerd, Containers says more.
	Provider   string
	Containers ContainerOptions
	// NoAuth turns authentication of the control API off.
	NoAuth bool
	// TLSCert and TLSKey are files in PEM; with them the listener speaks TLS.
	// They are read again when they change.
	TLSCert, TLSKey string
	// PrometheusURL is where a Prometheus answers queries about the load of
	// functions; if it is empty, none are scaled by a query.
	PrometheusURL string
	// Standby is how many interpreters of a kind wait for a function that has
	// use for one.
	Standby int
	// DrainTime is how long calls in flight may take to end after Run was told
	// to, DefaultDrainTime if 0.
	DrainTime time.Duration
	// Queue is about asynchronous calls.
	Queue QueueOptions
	// Release and Commit say which lofn this is; neither is empty.
	Release, Commit string
	Log             *slog.Logger
	// Ready is called once when the platform serves.
	Ready func(Info)
	// Upgrade, if not nil, asks at each signal that the program at the path by
	// which this process was started take over from it.
	Upgrade <-chan os.Signal
}

// Info tells how to reach a platform that serves.
type Info struct {
	URL, MetricsURL string
	Data            string
	// User and Password are empty with NoAuth. FirstStart is set if the
	// password was generated just now.
	User, Password string
	FirstStart     bool
}

// Providers are the names that Options.Provider may have.
func Providers() []string { return []string{ProviderProcess, ProviderContainerd} }

// Isolate gives an ordinary user the rights to keep functions apart, by running
// the whole program once more in a user namespace. If it did, the caller exits
// with the status; if not, it goes on. It comes before all else.
func Isolate() (status int, started bool) { return process.Isolate() }

// DefaultDrainTime is what service managers and clients have patience for.
const DefaultDrainTime = 30 * time.Second

const (
	// stopGrace and upgradeGrace are how long a connection without a call may
	// send one more, before it is closed: at a stop, and when the next process
	// takes calls already.
	stopGrace    = time.Second
	upgradeGrace = 5 * time.Second
)

// Run serves until ctx ends, then lets calls in flight finish, stops the
// functions and returns nil. When it is told to upgrade, and the new process
// serves, it returns nil as well, once the calls that it had have ended. An
// error means that it could not start, or that a listener broke.
func Run(ctx context.Context, o Options) error {
	switch o.Provider {
	case ProviderProcess:
		return run(ctx, o, openNoContainers)
	case ProviderContainerd:
		if os.Geteuid() != 0 {
			return lofn.Errorf(lofn.Forbidden, "--provider: containerd needs root: start lofn as root, or with --provider process")
		}
		return run(ctx, o, openContainerd)
	}
	return lofn.Errorf(lofn.Invalid, "--provider: %q is unknown: use %s", o.Provider, strings.Join(Providers(), " or "))
}

// run is Run with a provider of containers.
func run(ctx context.Context, o Options, contain openContainers) error {
	o.DrainTime = cmp.Or(o.DrainTime, DefaultDrainTime)
	certificate, err := certificate(o)
	if err != nil {
		return err
	}
	prometheus, err := prometheus(o)
	if err != nil {
		return err
	}
	line, files, err := handover.Inherit()
	if err != nil {
		return err
	}
	warden := process.FindWarden()
	if warden != nil {
		go dieWith(warden, o.Log)
	}
	data, err := openData(o.Data)
	if err != nil {
		return err
	}
	defer data.unlock()
	if line == nil {
		if err := data.lock(); err != nil {
			return err
		}
	}
	// The ports come first: of all that can be wrong, it is what most often is.
	ports, err := openPorts(o, files, warden != nil)
	if err != nil {
		return err
	}
	defer ports.close()

	info, authenticator, err := credentials(o, data)
	if err != nil {
		return err
	}
	info.URL, info.MetricsURL = urlOf(ports.calls, certificate), urlOf(ports.metrics, nil)
	var before *predecessor
	if line != nil {
		if before, err = succeed(ctx, line); err == nil {
			err = data.lock()
		}
		if err != nil {
			return err
		}
	}
	p, err := newPlatform(ctx, o, contain, data, before, prometheus, authenticator, info.URL)
	if err != nil {
		return err
	}
	p.certificate, p.warden = certificate, warden
	if err := ports.reach(p.containers.Gateway(), certificate != nil); err != nil {
		return errors.Join(err, p.close(ctx))
	}
	return p.serve(ctx, ports, func() {
		if o.Ready != nil {
			o.Ready(info)
		}
	})
}

// dieWith ends this process when the one that watches over it is gone: it must
// not go on where nobody can stop it.
func dieWith(warden *process.Warden, log *slog.Logger) {
	warden.Await()
	log.Error("the process that watches over this one is gone, so this one ends")
	os.Exit(1)
}

func credentials(o Options, data *dataDir) (Info, auth.Authenticator, error) {
	info := Info{Data: data.path}
	if o.NoAuth {
		o.Log.Warn("authentication is off: whoever reaches the port controls the platform", "listen", o.Listen)
		return info, auth.None{}, nil
	}
	c, err := basic.Load(data.secrets())
	if err != nil {
		return info, nil, fmt.Errorf("credentials: %w", err)
	}
	info.User, info.Password, info.FirstStart = c.User, c.Password, c.Generated
	return info, c, nil
}

// certificate is that of the listener, nil if it does not speak TLS.
func certificate(o Options) (*certs.Files, error) {
	switch {
	case o.TLSCert == "" && o.TLSKey == "":
		return nil, nil
	case o.TLSKey == "":
		return nil, lofn.Errorf(lofn.Invalid, "--tls-key: give the file with the key of %s too", o.TLSCert)
	case o.TLSCert == "":
		return nil, lofn.Errorf(lofn.Invalid, "--tls-cert: give the file with the certificate of %s too", o.TLSKey)
	}
	return certs.Load(o.TLSCert, o.TLSKey, o.Log)
}

// prometheus is what answers queries about load, nil if there is none.
func prometheus(o Options) (*promquery.Client, error) {
	if o.PrometheusURL == "" {
		return nil, nil
	}
	client, err := promquery.New(o.PrometheusURL)
	if err != nil {
		return nil, fmt.Errorf("--prometheus-url: %w", err)
	}
	return client, nil
}

// serve runs the loops and servers until ctx ends, one of the servers fails, or
// another process has taken over.
func (p *platform) serve(ctx context.Context, ports *ports, serving func()) error {
	loops, stopLoops := context.WithCancel(context.Background())
	defer stopLoops()
	var running sync.WaitGroup
	running.Go(func() { p.reconciler.Run(loops) })
	running.Go(func() { p.scaler.Run(loops) })
	running.Go(func() { p.syncSecrets(loops) })
	go p.report(loops)

	select {
	case <-p.reconciler.Synced():
	case <-ctx.Done():
	}
	if err := p.catchUp(ctx); err != nil {
		stopLoops()
		running.Wait()
		now, cancel := context.WithCancel(ctx)
		cancel()
		_ = p.close(now)
		return err
	}
	doors := openDoors(p, ports)
	serving()
	p.collecting.start()
	p.settling.start()
	p.async.taking.start()
	p.tellReady()
	drain, err := p.untilTheEnd(ctx, doors)
	p.collecting.stop()
	p.settling.stop()
	p.drainAsync(drain)
	stopLoops()
	running.Wait()
	// What the replicas of the process before this one write is kept here.
	p.before.await(drain)
	closing, cancel := leeway(drain)
	defer cancel()
	err = errors.Join(err, p.close(closing))
	p.log.Info("ended: no call is left in this process")
	return err
}

// leeway is the time for what has to be done when no call is under way: a
// little, even if those have taken all there was.
func leeway(drain context.Context) (context.Context, context.CancelFunc) {
	if drain.Err() == nil {
		return drain, func() {}
	}
	return context.WithTimeout(context.Background(), closeTime)
}

// dataDir is the data folder, held by one platform at a time.
type dataDir struct {
	path string
	file *os.File // nil while another process has the folder
}

// openData makes the folder if need be.
func openData(path string) (*dataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	d := &dataDir{path: path}
	for _, dir := range []string{path, d.secrets()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("data folder: %w: choose one that can be written to with --data", err)
		}
	}
	return d, nil
}

// lock takes the folder for this process alone until unlock, or until the
// process ends however it does.
func (d *dataDir) lock() error {
	file, err := os.OpenFile(d.join("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("data folder: %w: choose one that can be written to with --data", err)
	}
	if err := lockFile(file); err != nil {
		file.Close()
		return fmt.Errorf("data folder %s is in use by another lofn: stop that one, or choose another folder with --data", d.path)
	}
	d.file = file
	return nil
}

func (d *dataDir) unlock() {
	if d.file != nil {
		unlockFile(d.file)
		d.file.Close()
		d.file = nil
	}
}

func (d *dataDir) join(name string) string { return filepath.Join(d.path, name) }
func (d *dataDir) secrets() string         { return d.join("secrets") }
