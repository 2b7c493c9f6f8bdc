package containertest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/api/services/version/v1"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"lofn"
	"lofn/internal/provider/containerd/containerdtest"
)

// TestBadDeploymentsAreRefused deploys what could not run.
func TestBadDeploymentsAreRefused(t *testing.T) {
	p := serving(t)
	good := containerdtest.Answer(t)
	p.push("good:1", good)
	p.push("other:1", forArchitecture(t, good, "s390x"))
	p.push("idle:1", containerdtest.Image(t, v1.Config{}, containerdtest.File{Path: "x", Mode: 0o755}))
	p.push("host:1", hostImage(t))
	own := strings.TrimPrefix(p.URL, "http://")
	closed := closedAddress(t)
	for _, c := range []struct {
		deployment string
		parts      []string
	}{
		{deployment("fn", "absent:1"), []string{"absent:1"}},
		{deployment("fn", own+"/absent:1"), []string{"absent:1"}},
		{deployment("fn", "good:2"), []string{"good:2"}},
		{deployment("fn", "Good:1"), []string{"image", "Good:1"}},
		{deployment("fn", "other:1"), []string{"linux/s390x", "build it for this one"}},
		{deployment("fn", "idle:1"), []string{"no command", "ENTRYPOINT"}},
		{deployment("fn", "good:1", func(d *lofn.Deployment) { d.Secrets = []string{"nowhere"} }), []string{"nowhere", "secret"}},
		{deployment("fn", "host:1", annotated(lofn.AnnotationRuntime, "container")), []string{lofn.AnnotationRuntime, "host:1"}},
		{deployment("fn", "good:1", annotated(lofn.AnnotationRuntime, "process")), []string{lofn.AnnotationRuntime, "good:1"}},
		{deployment("fn", "good:1", annotated(lofn.AnnotationRuntime, "vm")), []string{lofn.AnnotationRuntime, "vm", "process or container"}},
		{deployment("fn", "good:1", annotated(lofn.AnnotationPull, "never")), []string{"good:1", "import"}},
		{deployment("fn", "good:1", annotated(lofn.AnnotationPull, "sometimes")), []string{lofn.AnnotationPull, "sometimes"}},
		{deployment("fn", "good:1", annotated(lofn.AnnotationPids, "0")), []string{lofn.AnnotationPids}},
		{deployment("fn", "good:1", annotated(lofn.AnnotationNonRoot, "maybe")), []string{lofn.AnnotationNonRoot, "maybe"}},
		{deployment("fn", "good:1", func(d *lofn.Deployment) { d.Limits = &lofn.Resources{Memory: "lots"} }), []string{"memory", "lots"}},
		{deployment("fn", "good:1", func(d *lofn.Deployment) { d.Limits = &lofn.Resources{Memory: "1Ki"} }), []string{"memory", "1Ki"}},
	} {
		p.refuses(400, c.deployment, c.parts...)
	}
	p.refuses(503, deployment("fn", closed+"/x:1"), "for "+closed+" cannot be reached", "refused")
	if got := strings.TrimSpace(p.must(200, "GET", "/system/functions", "")); got != "[]" {
		t.Errorf("there are functions: %s", got)
	}
	if left := p.records(); len(left) > 0 {
		t.Errorf("half-made: %v", left)
	}
}

// closedAddress is one at which nobody listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestContainersNeedTheirProvider(t *testing.T) {
	p := installed(t)
	p.provider = "process"
	p.start()
	p.push("good:1", containerdtest.Answer(t))
	p.refuses(400, deployment("fn", "good:1"), "good:1", "--provider containerd")
	p.stop()
	if traces := p.traces(); len(traces) > 0 {
		t.Errorf("a platform of processes has %v", traces)
	}
}

// TestServeRefusesMachinesWithoutContainers starts a platform on a machine where
// something is missing, and then on one with everything.
func TestServeRefusesMachinesWithoutContainers(t *testing.T) {
	p := installed(t)
	socket := p.Socket
	inVain := func(what string, parts ...string) {
		t.Helper()
		code, said := p.startInVain()
		if code != 1 {
			t.Errorf("%s: the exit status is %d", what, code)
		}
		for _, part := range parts {
			if !strings.Contains(said, part) {
				t.Errorf("%s: %q is not in what it said:\n%s", what, part, said)
			}
		}
		if n := len(strings.Split(strings.TrimSpace(said), "\n")); strings.Contains(said, "goroutine ") || n > 4 {
			t.Errorf("%s: too many words:\n%s", what, said)
		}
		p.Socket = socket
		for _, trace := range p.traces() {
			t.Errorf("%s: half-made: %s", what, trace)
		}
	}
	p.Socket = filepath.Join(tempDir(t), "none.sock")
	inVain("no containerd", p.Socket, "containerd is not running", "apt install containerd", "systemctl start")

	p.Socket = filepath.Join(tempDir(t), "stale.sock")
	if l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p.Socket}); err == nil {
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	inVain("a containerd that has ended", p.Socket, "containerd is not running", "systemctl start")

	p.Socket = oldContainerd(t)
	inVain("an old containerd", p.Socket, "1.5.11", "1.6")

	hide(t, "/usr/lib/cni")
	inVain("no CNI plugins", "CNI", "apt install containernetworking-plugins")
	if err := unix.Unmount("/usr/lib/cni", 0); err != nil {
		t.Fatal(err)
	}

	p.notRoot()
	p.start()
	p.deploy("fn", p.push("fn:1", containerdtest.Answer(t, "ANSWER=one")))
	p.call("fn", "one")
}

// notRoot starts the platform as somebody else.
func (p *platform) notRoot() {
	p.Helper()
	cmd := p.serve(p.Context())
	p.said = &said{}
	cmd.Stderr = p.said
	for _, dir := range []string{filepath.Dir(p.program), filepath.Dir(p.data)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			p.Fatal(err)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	err := cmd.Run()
	if said := p.said.String(); err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(said, "root") || !strings.Contains(said, "--provider process") {
		p.Errorf("not as root: %v: %s", err, said)
	}
}

// hide has a folder look empty.
func hide(t *testing.T, folder string) {
	t.Helper()
	if err := unix.Mount("tmpfs", folder, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(folder, unix.MNT_DETACH) })
}

// old answers as a containerd of years ago.
type old struct {
	version.UnimplementedVersionServer
}

// Version implements version.VersionServer.
func (old) Version(context.Context, *emptypb.Empty) (*version.VersionResponse, error) {
	return &version.VersionResponse{Version: "1.5.11", Revision: "3df54a8"}, nil
}

// oldContainerd returns the socket of one.
func oldContainerd(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(tempDir(t), "old.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	version.RegisterVersionServer(server, old{})
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return socket
}
