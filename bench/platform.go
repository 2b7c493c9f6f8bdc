package main

import (
	"bytes"
	"context"
	_ "embed" // the function
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"lofn"
	"lofn/client"
)

// handler is the function that is measured.
//
//go:embed function/handler.go.embed
var handler string

const stackFile = `version: 1.0
provider:
  name: openfaas
functions:
  %[1]s:
    lang: %[2]s
    handler: ./%[1]s
    image: %[1]s:latest
`

// platform is a lofn of its own in a throw-away folder, with one function
// deployed: bench.
type platform struct {
	*client.Client
	dir     string
	data    string // its folder
	url     string
	address string // host and port
	metrics string // the address of the metrics
	process *exec.Cmd
	// image is the function's, as the platform knows it.
	image string
	// startup is how long it took until it served for the first time.
	startup time.Duration
	// flags are those of serve, build those of up, besides what all have.
	flags, build []string
	// box is where its containers are, nil if it has none, in a namespace of
	// containerd.
	box       *box
	namespace string
	subnet    netip.Prefix
}

// alone has a section measured on a platform of its own, so that it finds
// nothing that others left, and leaves nothing to them.
func alone(measure func(context.Context, *platform, options) error) func(context.Context, *platform, options) error {
	return func(ctx context.Context, _ *platform, o options) error {
		p, err := startPlatform(ctx, o.lofn)
		if err != nil {
			return err
		}
		defer p.stop()
		return measure(ctx, p, o)
	}
}

func startPlatform(ctx context.Context, binary string) (*platform, error) {
	p := &platform{}
	return p, p.open(ctx, binary)
}

// open starts the platform, and deploys the function. If it fails the platform
// is stopped.
func (p *platform) open(ctx context.Context, binary string) (err error) {
	binary, err = filepath.Abs(binary)
	if err != nil {
		return err
	}
	if p.dir, err = os.MkdirTemp("", "lofn-bench-"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.stop()
		}
	}()
	for _, address := range []*string{&p.address, &p.metrics} {
		if *address, err = freeAddress(); err != nil {
			return err
		}
	}
	p.url, p.data = "http://"+p.address, filepath.Join(p.dir, "data")
	if err := p.start(binary); err != nil {
		return err
	}
	if err := p.connect(ctx, filepath.Join(p.data, "secrets")); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(p.logFile()))
	}
	return p.deployBench(ctx)
}

// start executes the program, with more arguments than it always has.
func (p *platform) start(binary string, more ...string) error {
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	always := append([]string{"serve", "--listen", p.address, "--metrics-listen", p.metrics, "--data", p.data}, p.flags...)
	p.process = exec.Command(binary, append(always, more...)...)
	p.process.Stdout, p.process.Stderr = log, log
	return p.process.Start()
}

func (p *platform) logFile() string { return filepath.Join(p.dir, "serve.log") }

// restart ends the platform's process with a signal, starts it again, and waits
// until it serves.
func (p *platform) restart(ctx context.Context, by syscall.Signal, more ...string) error {
	if err := p.process.Process.Signal(by); err != nil {
		return err
	}
	_ = p.process.Wait()
	if err := p.start(p.process.Path, more...); err != nil {
		return err
	}
	if err := p.healthy(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(p.logFile()))
	}
	return nil
}

// freeAddress returns an address that nobody listens on at the moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func tail(file string) string {
	text, _ := os.ReadFile(file)
	return string(text[max(0, len(text)-2000):])
}

// healthy waits until the platform serves.
func (p *platform) healthy(ctx context.Context) error {
	started := time.Now()
	for {
		if answer, err := http.Get(p.url + "/healthz"); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Since(started) > 20*time.Second {
			return fmt.Errorf("lofn serve does not answer on %s", p.url)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

func (p *platform) connect(ctx context.Context, secrets string) error {
	started := time.Now()
	if err := p.healthy(ctx); err != nil {
		return err
	}
	p.startup = time.Since(started)
	user, err := os.ReadFile(filepath.Join(secrets, "basic-auth-user"))
	if err != nil {
		return err
	}
	password, err := os.ReadFile(filepath.Join(secrets, "basic-auth-password"))
	if err != nil {
		return err
	}
	p.Client, err = client.New(client.Config{URL: p.url, User: strings.TrimSpace(string(user)), Password: strings.TrimSpace(string(password))})
	if err != nil {
		return err
	}
	return p.lofn(ctx, bytes.NewReader(password), "login", "--password-stdin")
}

// What the function is built with.
const (
	benchLanguage = "golang-middleware"
	benchModule   = "module handler/function\n\ngo 1.22\n"
)

// deployBench builds and deploys the function as a user does.
func (p *platform) deployBench(ctx context.Context) error {
	status, err := p.up(ctx, benchRef(), benchLanguage, map[string]string{"handler.go": handler, "go.mod": benchModule})
	p.image = status.Image
	return err
}

// up builds a function of the files and deploys it, and waits for a replica.
func (p *platform) up(ctx context.Context, ref lofn.Ref, language string, files map[string]string) (lofn.FunctionStatus, error) {
	work := filepath.Join(p.dir, "work")
	stack := ref.Name + ".yml"
	all := map[string]string{stack: fmt.Sprintf(stackFile, ref.Name, language)}
	for name, content := range files {
		all[filepath.Join(ref.Name, name)] = content
	}
	for name, content := range all {
		path := filepath.Join(work, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return lofn.FunctionStatus{}, err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return lofn.FunctionStatus{}, err
		}
	}
	if err := p.lofn(ctx, nil, append([]string{"up", "-f", stack}, p.build...)...); err != nil {
		return lofn.FunctionStatus{}, err
	}
	return p.ready(ctx, ref, 1)
}

func benchRef() lofn.Ref { return lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "bench"} }

// lofn runs a command against this platform, without the user's settings.
func (p *platform) lofn(ctx context.Context, stdin *bytes.Reader, args ...string) error {
	command := exec.CommandContext(ctx, p.process.Path, args...)
	command.Dir = filepath.Join(p.dir, "work")
	if err := os.MkdirAll(command.Dir, 0o755); err != nil {
		return err
	}
	command.Env = append(os.Environ(), "OPENFAAS_URL="+p.url, "OPENFAAS_CONFIG="+filepath.Join(p.dir, "config"))
	if stdin != nil {
		command.Stdin = stdin
	}
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("lofn %s: %w\n%s", args[0], err, output)
	}
	return nil
}

// ready waits until a function has so many available replicas.
func (p *platform) ready(ctx context.Context, ref lofn.Ref, replicas uint64) (lofn.FunctionStatus, error) {
	return p.readyWithin(ctx, ref, replicas, time.Minute, 2*time.Millisecond)
}

// readyWithin is ready with a limit, and looks as often as given: each look is
// work for the platform, the more so the more replicas there are.
func (p *platform) readyWithin(ctx context.Context, ref lofn.Ref, replicas uint64, limit, often time.Duration) (lofn.FunctionStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		status, err := p.Function(ctx, ref)
		if err != nil || status.AvailableReplicas == replicas {
			return status, err
		}
		if err := pause(ctx, often); err != nil {
			return status, fmt.Errorf("%s has %d of %d replicas: %w", ref, status.AvailableReplicas, replicas, err)
		}
	}
}

// pid is the process that was started. It may have others do the serving.
func (p *platform) pid() int { return p.process.Process.Pid }

// socket is where others find an instance's socket. The platform may reach it
// through a folder that it keeps open, which is its own under /proc/self.
func (p *platform) socket(r lofn.Replica) (string, error) {
	own, found := strings.CutPrefix(r.Address, "/proc/self/")
	if !found {
		return r.Address, nil
	}
	pids, _, err := processesOf(p.pid())
	if err != nil {
		return "", err
	}
	for _, pid := range pids {
		if path := fmt.Sprintf("/proc/%d/%s", pid, own); exists(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("none of the platform's processes has the socket %s", r.Address)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// serving returns the processes that serve this platform, the latest last: it
// may have started itself anew.
func (p *platform) serving() ([]int, error) {
	pids, err := servingAt(p.data)
	if err == nil && len(pids) == 0 {
		err = errors.New("the platform has ended")
	}
	return pids, err
}

// stop ends the platform, however often it started itself anew.
func (p *platform) stop() {
	if p.process != nil && p.process.Process != nil {
		_ = p.process.Process.Signal(syscall.SIGTERM)
		_ = p.process.Wait()
		for pids, err := p.serving(); err == nil; pids, err = p.serving() {
			_ = syscall.Kill(pids[len(pids)-1], syscall.SIGTERM)
			_ = pause(context.Background(), 50*time.Millisecond)
		}
	}
	p.clear()
	_ = os.RemoveAll(p.dir)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
