package app_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"lofn"
)

// platform is a `lofn serve` in a process of its own, with a data folder that
// outlives it.
type platform struct {
	*testing.T
	data string
	// program is started; it is this test binary.
	program string
	// user is whose the platform is, nil for the test's own.
	user *syscall.Credential
	// notify is where a service manager would listen, if not empty.
	notify string
	// prometheus is the address of the one that it asks, if not empty.
	prometheus string
	// nats is the URL of the server that has its queue, if not empty.
	nats string
	// containers is the folder of its detached processes, if not empty, and
	// inner the address at which they call it.
	containers, inner string
	// drain is how long calls may take to end at a stop, if not 0.
	drain time.Duration
	started
	// later are the lines that further processes print when they serve.
	later  chan started
	cmd    *exec.Cmd
	stderr said
}

// said is what processes wrote, which may be read while they write.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
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

func newPlatform(t *testing.T) *platform {
	t.Helper()
	p := &platform{T: t, data: shortTempDir(t), program: os.Args[0]}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the platform's log ends:\n%s", tail(p.stderr.String(), 4000))
		}
	})
	return p
}

// shortTempDir is t.TempDir with a name that leaves room for a socket's path.
func shortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lofn")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// start starts the platform and waits until it serves.
func (p *platform) start() {
	p.Helper()
	p.stderr = said{}
	p.cmd = exec.Command(p.program, p.data)
	p.cmd.Env = append(os.Environ(), roleVariable+"=platform", "NOTIFY_SOCKET="+p.notify, prometheusVariable+"="+p.prometheus, natsVariable+"="+p.nats, drainVariable+"="+p.drain.String(),
		containersVariable+"="+p.containers, innerVariable+"="+p.inner)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.user}
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.Fatal(err)
	}
	lines := json.NewDecoder(out)
	if err := lines.Decode(&p.started); err != nil {
		p.Fatalf("the platform did not start: %v\n%s", err, p.stderr.String())
	}
	p.later = make(chan started, 100)
	go func() {
		defer close(p.later)
		for {
			var s started
			if lines.Decode(&s) != nil {
				return
			}
			p.later <- s
		}
	}()
}

// startInVain starts a platform that is not expected to serve, and returns what
// it said at its end.
func (p *platform) startInVain() string {
	p.Helper()
	cmd := exec.CommandContext(p.Context(), os.Args[0], p.data)
	cmd.Env = append(os.Environ(), roleVariable+"=platform", prometheusVariable+"="+p.prometheus, natsVariable+"="+p.nats,
		containersVariable+"="+p.containers, innerVariable+"="+p.inner)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if out, err := cmd.Output(); err == nil || len(out) > 0 {
		p.Fatalf("it served: %s", out)
	}
	return stderr.String()
}

// kill ends the platform as a power cut would.
func (p *platform) kill() {
	if p.cmd != nil && p.cmd.ProcessState == nil {
		if p.PID != 0 && p.PID != p.cmd.Process.Pid {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// stop asks the platform to end and returns its exit code.
func (p *platform) stop() int {
	p.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.Fatal(err)
	}
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// do makes a request; status 0 means that there was no answer.
func (p *platform) do(method, path, body string) (status int, answer string) {
	p.Helper()
	req, err := http.NewRequestWithContext(p.Context(), method, p.URL+path, strings.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	req.SetBasicAuth(p.User, p.Password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(data)
}

// must makes a request that has to be answered with the status.
func (p *platform) must(status int, method, path, body string) string {
	p.Helper()
	got, answer := p.do(method, path, body)
	if got != status {
		p.Fatalf("%s %s %s: got %d %s, want %d", method, path, body, got, answer, status)
	}
	return answer
}

func (p *platform) eventually(what string, condition func() bool) {
	p.Helper()
	p.within(time.Minute, what, condition)
}

func (p *platform) within(patience time.Duration, what string, condition func() bool) {
	p.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			p.Fatalf("waited in vain until %s", what)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-p.Context().Done():
			p.FailNow()
		}
	}
}

// push puts an image into the registry whose program is this test binary as a
// function, unless env or architecture make it something else.
func (p *platform) push(image string, config func(*v1.Config, *v1.ConfigFile)) {
	p.Helper()
	img, err := functionImage(config)
	if err != nil {
		p.Fatal(err)
	}
	ref, err := name.ParseReference(strings.TrimPrefix(p.URL, "http://")+"/"+image, name.Insecure)
	if err != nil {
		p.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: p.User, Password: p.Password})); err != nil {
		p.Fatal(err)
	}
}

// ageImages makes all images look as if they had last been used hours ago.
func (p *platform) ageImages() {
	p.Helper()
	blobs, err := filepath.Glob(filepath.Join(p.data, "registry/docker/registry/v2/blobs/sha256/*/*"))
	if err != nil || len(blobs) == 0 {
		p.Fatalf("no images in %s: %v", p.data, err)
	}
	then := time.Now().Add(-2 * time.Hour)
	for _, blob := range blobs {
		if err := os.Chtimes(blob, then, then); err != nil {
			p.Fatal(err)
		}
	}
}

func functionImage(config func(*v1.Config, *v1.ConfigFile)) (v1.Image, error) {
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "home/app/handler", Mode: 0o755, Size: int64(len(program)), Typeflag: tar.TypeReg}); err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	// Compressing so large a program takes longer than all the rest.
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil }, tarball.WithCompressionLevel(gzip.NoCompression))
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config.WorkingDir = lofn.AppDir
	file.Config.Labels = map[string]string{lofn.LabelRuntime: lofn.RuntimeHost}
	file.Config.Env = []string{"mode=http", "fprocess=./handler", roleVariable + "=function"}
	if config != nil {
		config(&file.Config, file)
	}
	return mutate.ConfigFile(img, file)
}

// processesWith returns the processes whose environment has the entry.
func processesWith(entry string) []string {
	var found []string
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range environs {
		// A process that ended meanwhile, or is somebody else's, is none.
		if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, []byte(entry)) {
			found = append(found, filepath.Base(filepath.Dir(path)))
		}
	}
	return found
}

func deployment(name, image, answer, marker string, secrets ...string) string {
	data, err := json.Marshal(lofn.Deployment{
		Service: name, Image: image, Secrets: secrets, EnvVars: map[string]string{"answer": answer, "marker": marker},
	})
	if err != nil {
		panic(fmt.Sprint("a deployment has no JSON form: ", err))
	}
	return string(data)
}
