package containertest

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"lofn/internal/app"
	"lofn/internal/provider/containerd/containerdtest"
)

func TestMain(m *testing.M) { os.Exit(containerdtest.Main(m)) }

// Programs that platforms run: lofn itself, and a function.
const (
	lofnPackage   = "lofn/cmd/lofn"
	answerPackage = "lofn/internal/provider/containerd/containerdtest/testdata/answer"
)

// platform is a `lofn serve --provider containerd` in a process of its own, on a
// containerd that the test has to itself.
type platform struct {
	*testing.T
	*containerdtest.Daemon
	program, data string
	subnet        netip.Prefix
	provider      string

	URL, password string
	cmd           *exec.Cmd
	said          *said
	// pid is that of the process that serves.
	pid int
}

// said is what processes wrote, which may be read while they write.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// platforms counts them: each has addresses of its own.
var platforms = new(atomic.Int32)

// installed is a platform that has not been started.
func installed(t *testing.T) *platform {
	t.Helper()
	return installedOn(t, containerdtest.Start(t))
}

func installedOn(t *testing.T, d *containerdtest.Daemon) *platform {
	t.Helper()
	// The first one has what everybody has.
	subnet := netip.MustParsePrefix("10.62.0.0/16")
	if n := platforms.Add(1); n > 1 {
		subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 63, byte(n), 0}), 24)
	}
	p := &platform{T: t, Daemon: d, said: &said{}, data: filepath.Join(tempDir(t), "data"), subnet: subnet, provider: "containerd"}
	p.program = filepath.Join(tempDir(t), "lofn")
	if err := os.WriteFile(p.program, containerdtest.Program(t, lofnPackage), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.clear()
		if t.Failed() {
			t.Logf("the platform's log ends:\n%s", tail(p.said.String(), 6000))
		}
	})
	return p
}

// tempDir is t.TempDir with a name that leaves room for a socket's path.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lofn")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// atLength skips a test where there is little time.
func atLength(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds, of all processors")
	}
}

// serving is a platform that serves.
func serving(t *testing.T) *platform {
	t.Helper()
	p := installed(t)
	p.start()
	return p
}

func (p *platform) serve(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.program, "serve", "--provider", p.provider, "--data", p.data, "--listen", "127.0.0.1:0",
		"--metrics-listen", "127.0.0.1:0", "--containerd-socket", p.Socket, "--container-subnet", p.subnet.String())
	cmd.Stderr = p.said
	return cmd
}

var servesAt = regexp.MustCompile(`lofn serves at (\S+) `)

// start starts the platform and waits until it serves.
func (p *platform) start() {
	p.Helper()
	p.cmd = p.serve(context.Background())
	out := &said{}
	p.cmd.Stdout = out
	if err := p.cmd.Start(); err != nil {
		p.Fatal(err)
	}
	p.pid = p.cmd.Process.Pid
	p.Until("the platform serves", func() bool { return servesAt.MatchString(out.String()) || isGone(p.pid) })
	match := servesAt.FindStringSubmatch(out.String())
	if match == nil {
		p.Fatalf("the platform did not start:\n%s", p.said)
	}
	p.URL = match[1]
	password, err := os.ReadFile(filepath.Join(p.data, "secrets", "basic-auth-password"))
	if err != nil {
		p.Fatal(err)
	}
	p.password = strings.TrimSpace(string(password))
}

// startInVain starts a platform that is not expected to serve, and returns its
// exit status and what it said.
func (p *platform) startInVain() (code int, text string) {
	p.Helper()
	p.said = &said{}
	ctx, cancel := context.WithTimeout(p.Context(), time.Minute)
	defer cancel()
	cmd := p.serve(ctx)
	if out, err := cmd.Output(); err == nil || len(out) > 0 || ctx.Err() != nil {
		p.Fatalf("it served: %s", out)
	}
	return cmd.ProcessState.ExitCode(), p.said.String()
}

// Until waits for a condition that nobody tells of.
func (p *platform) Until(what string, condition func() bool) {
	p.Helper()
	containerdtest.Until(p, what, condition)
}

// isGone reports whether a process has ended.
func isGone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// kill ends the platform as kill -9 does.
func (p *platform) kill() {
	if p.cmd == nil {
		return
	}
	_ = syscall.Kill(p.pid, syscall.SIGKILL)
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	for !isGone(p.pid) { // not Until, for which there is no time in a cleanup
		<-time.After(time.Millisecond)
	}
	p.cmd = nil
}

// uninstall is what lofn uninstall does for containers.
func (p *platform) uninstall() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return app.Clear(ctx, app.Options{
		Provider: p.provider, Data: p.data,
		Containers: app.ContainerOptions{Socket: p.Socket, Namespace: "lofn", Subnet: p.subnet},
	})
}

// stop asks the platform to end and returns its exit code.
func (p *platform) stop() int {
	p.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.Fatal(err)
	}
	_ = p.cmd.Wait()
	code := p.cmd.ProcessState.ExitCode()
	p.cmd = nil
	return code
}

var tookOver = regexp.MustCompile(`another process has taken over.* successor=(\d+)`)

// upgrade replaces the platform's process, and returns when the next one serves.
func (p *platform) upgrade() {
	p.Helper()
	before := len(tookOver.FindAllString(p.said.String(), -1))
	if err := syscall.Kill(p.pid, syscall.SIGHUP); err != nil {
		p.Fatal(err)
	}
	var all [][]string
	p.Until("the next process serves", func() bool {
		all = tookOver.FindAllStringSubmatch(p.said.String(), -1)
		return len(all) > before
	})
	p.pid, _ = strconv.Atoi(all[len(all)-1][1])
}

// clear takes the platform off the machine, as `lofn uninstall` does.
func (p *platform) clear() {
	p.Helper()
	p.kill()
	if err := p.uninstall(); err != nil {
		p.Errorf("clearing the machine: %v", err)
	}
	for _, trace := range p.traces() {
		p.Errorf("left on the machine: %s", trace)
	}
}

// pids are the first processes of the containers that run, spares left out.
func (p *platform) pids() (list []int) {
	p.Helper()
	c, err := client.New(p.Socket)
	if err != nil {
		p.Fatal(err)
	}
	defer c.Close()
	response, err := c.TaskService().List(namespaces.WithNamespace(context.Background(), "lofn"), &tasks.ListTasksRequest{})
	if err != nil {
		p.Fatal(err)
	}
	for _, t := range response.Tasks {
		if t.Status == task.Status_RUNNING {
			list = append(list, int(t.Pid))
		}
	}
	slices.Sort(list)
	return list
}

// runs waits until that many containers run, and returns their processes.
func (p *platform) runs(n int) (pids []int) {
	p.Helper()
	p.Until(fmt.Sprintf("%d containers run", n), func() bool {
		pids = p.pids()
		return len(pids) == n
	})
	return pids
}

// same fails unless the containers that run are those.
func (p *platform) same(want []int) {
	p.Helper()
	if got := p.runs(len(want)); !slices.Equal(got, want) {
		p.Errorf("the containers are %v, not %v", got, want)
	}
}
