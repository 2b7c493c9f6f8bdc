package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"lofn"
	"lofn/internal/app"
	"lofn/internal/provider/fleet"
)

// containersVariable is the folder of a platform's detached processes, and
// innerVariable the address at which they call it.
const (
	containersVariable = "LOFN_TEST_CONTAINERS"
	innerVariable      = "LOFN_TEST_INNER"
)

// detached is a provider of containers that are processes of their own: like
// containers they outlive the platform, and the next one finds them in a folder.
type detached struct {
	*fleet.Fleet
	app.Needs
	dir     string
	gateway netip.Addr

	mu        sync.Mutex
	survivors map[lofn.Ref][]fleet.Survivor
	digests   map[string]string // by ID
}

// found is what the folder has of one.
type found struct {
	Function lofn.Function
	ID       string
	PID      int
}

func openDetached(dir string, gateway netip.Addr) func(app.Needs) (app.Containers, error) {
	return func(needs app.Needs) (app.Containers, error) {
		d := &detached{Needs: needs, dir: dir, gateway: gateway, survivors: make(map[lofn.Ref][]fleet.Survivor), digests: make(map[string]string)}
		d.Fleet = fleet.New(fleet.Config{Starter: starter{d}, Drain: needs.Drain, Survivors: d.claim})
		return d, d.adopt()
	}
}

// adopt finds what an earlier platform left.
func (d *detached) adopt() error {
	paths, err := filepath.Glob(filepath.Join(d.dir, "*.json"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var f found
		if err := json.Unmarshal(text, &f); err != nil {
			return err
		}
		d.survivors[f.Function.Ref] = append(d.survivors[f.Function.Ref], fleet.Survivor{Function: f.Function, ID: f.ID, Instance: d.follow(f)})
	}
	return nil
}

// follow makes an instance of a process, and watches it to its end.
func (d *detached) follow(f found) *process {
	i := &process{found: f, socket: d.socket(f.ID), done: make(chan struct{})}
	d.mu.Lock()
	d.digests[f.ID] = f.Function.Digest
	d.mu.Unlock()
	go func() {
		for !isGone(f.PID) {
			<-time.After(10 * time.Millisecond)
		}
		_ = os.Remove(d.record(f.ID))
		d.mu.Lock()
		delete(d.digests, f.ID)
		d.mu.Unlock()
		close(i.done)
	}()
	return i
}

func (d *detached) record(id string) string { return filepath.Join(d.dir, id+".json") }
func (d *detached) socket(id string) string { return filepath.Join(d.dir, id+".sock") }

func (d *detached) claim(ref lofn.Ref) []fleet.Survivor {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer delete(d.survivors, ref)
	return d.survivors[ref]
}

// Survivors implements app.Containers.
func (d *detached) Survivors(ref lofn.Ref) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.survivors[ref])
}

// starter keeps Start out of the methods of detached.
type starter struct{ *detached }

// Start implements fleet.Starter.
func (s starter) Start(ctx context.Context, fn lofn.Function, id string, _ func(string)) (fleet.Instance, error) {
	_ = os.Remove(s.socket(id))           // of the one that had the ID before
	cmd := exec.Command("/proc/self/exe") // where this was started from there may be another program by now
	cmd.Env = []string{roleVariable + "=function", lofn.EnvSocket + "=" + s.socket(id)}
	for name, value := range fn.Spec.Env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = cmd.Wait() }()
	for {
		conn, err := net.Dial("unix", s.socket(id))
		if err == nil {
			_ = conn.Close()
			break
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			return nil, ctx.Err()
		}
	}
	f := found{Function: fn, ID: id, PID: cmd.Process.Pid}
	text, err := json.Marshal(f)
	if err == nil {
		err = os.WriteFile(s.record(id), text, 0o600)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		return nil, err
	}
	return s.follow(f), nil
}

// process is one of them.
type process struct {
	found
	socket string
	done   chan struct{}
}

func (p *process) Address() (network, address string) { return "unix", p.socket }
func (p *process) Done() <-chan struct{}              { return p.done }
func (p *process) Err() error                         { return errors.New("the process ended") }
func (p *process) Startup() lofn.Startup              { return lofn.Startup{} }

// Stop is without patience: what calls are under way must have been waited for.
func (p *process) Stop(context.Context) {
	_ = syscall.Kill(p.PID, syscall.SIGKILL)
	<-p.done
}

func (d *detached) Look(ctx context.Context, fn lofn.Function) (lofn.Image, error) {
	return d.Images.Resolve(ctx, fn.Spec.Image)
}

func (d *detached) Admit(_ context.Context, _ lofn.Function, image lofn.Image) (lofn.Resolution, error) {
	return lofn.Resolution{Digest: image.Digest, Defaults: image.Defaults(), Runtime: lofn.RuntimeContainer}, nil
}

func (d *detached) Usage(context.Context, lofn.Ref) (lofn.Usage, error) {
	return lofn.Usage{MilliCPU: 1, MemoryBytes: detachedMemory}, nil
}

// detachedMemory is what each function says to use.
const detachedMemory = 12345

func (d *detached) SyncSecret(context.Context, string, string) error { return nil }

func (d *detached) Consumption() []fleet.Consumption {
	return []fleet.Consumption{{Function: lofn.Ref{Namespace: lofn.DefaultNamespace, Name: "fn"}, CPU: time.Hour, MemoryBytes: detachedMemory}}
}

func (d *detached) Forget(lofn.Ref)     {}
func (d *detached) Gateway() netip.Addr { return d.gateway }

func (d *detached) Digests() (list []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, digest := range d.digests {
		list = append(list, digest)
	}
	return list
}

// Collect writes down which of the images that it is asked about are used.
func (d *detached) Collect(_ context.Context, used func(string) bool) error {
	var verdicts []byte
	for _, digest := range d.Digests() {
		verdicts = strconv.AppendBool(append(verdicts, digest+" "...), used(digest))
		verdicts = append(verdicts, '\n')
	}
	return os.WriteFile(filepath.Join(d.dir, "collected"), verdicts, 0o600)
}

// Settle implements app.Containers.
func (d *detached) Settle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ref, survivors := range d.survivors {
		for _, s := range survivors {
			s.Instance.(*process).end()
		}
		delete(d.survivors, ref)
	}
}

func (p *process) end() { _ = syscall.Kill(p.PID, syscall.SIGKILL) }
