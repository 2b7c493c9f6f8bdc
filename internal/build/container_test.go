package build_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/x509"
	"debug/elf"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"lofn"
	"lofn/internal/build"
)

// compiled is a folder with a program as fwatchdog, for this machine and another.
func compiled(program string) (folder string, err error) {
	folder, err = os.MkdirTemp("", "lofn-fwatchdog-")
	for _, arch := range []string{"amd64", "arm64"} {
		if err == nil {
			cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(folder, "fwatchdog-linux-"+arch), program)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
			err = cmd.Run()
		}
	}
	return folder, err
}

// watchdogs stand in for fwatchdog in images that are not run: they are small.
var watchdogs = sync.OnceValues(func() (string, error) { return compiled("testdata/nothing/main.go") })

func TestMain(m *testing.M) {
	code := m.Run()
	if folder, err := watchdogs(); err == nil {
		_ = os.RemoveAll(folder)
	}
	os.Exit(code)
}

// containerRequest is a build of testdata/handlers/<lang> for containers.
func containerRequest(t *testing.T, lang, base string) build.Request {
	t.Helper()
	needs(t, lang)
	folder, err := watchdogs()
	if err != nil {
		t.Fatal(err)
	}
	return build.Request{
		Name: "fn", Lang: lang, Handler: "./fn", Dir: workingFolder(t, lang), Images: openImages(t),
		Runtime: lofn.RuntimeContainer, Base: base, Watchdogs: folder, Log: logLines{t},
	}
}

// baseImage is an image with one small file, and much that is about a program
// of its own.
func baseImage(t *testing.T, arch string, env ...string) v1.Image {
	t.Helper()
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	text := "base of " + arch
	if err := w.WriteHeader(&tar.Header{Name: "etc/base", Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: arch, RootFS: v1.RootFS{Type: "layers"}, Config: v1.Config{
		Env: append([]string{"PATH=/base/bin"}, env...), Entrypoint: []string{"/entry"}, Cmd: []string{"serve"}, User: "0", WorkingDir: "/srv",
		StopSignal: "SIGQUIT", Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "true"}}, Labels: map[string]string{"maintainer": "somebody else", lofn.LabelRuntime: lofn.RuntimeHost},
		ExposedPorts: map[string]struct{}{"80/tcp": {}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "somebody"}})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// baseIndex is baseImage for several processors.
func baseIndex(t *testing.T, archs ...string) v1.ImageIndex {
	t.Helper()
	var index v1.ImageIndex = empty.Index
	for _, arch := range archs {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: baseImage(t, arch), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	return index
}

// layoutOf writes what is appended to a folder in the OCI image layout.
func layoutOf(t *testing.T, appendTo func(layout.Path) error) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "layout")
	path, err := layout.Write(folder, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := appendTo(path); err != nil {
		t.Fatal(err)
	}
	return folder
}

func imageLayout(t *testing.T, image v1.Image) string {
	t.Helper()
	return layoutOf(t, func(p layout.Path) error { return p.AppendImage(image) })
}

// get returns a built image and its configuration.
func get(t *testing.T, images *build.Images, name string) (v1.Image, *v1.ConfigFile) {
	t.Helper()
	image, err := images.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return image, config
}

func TestContainerImage(t *testing.T) {
	under := baseImage(t, runtime.GOARCH, "HOME=/root", "LANG=C.UTF-8", "mode=base")
	req := containerRequest(t, "bash-streaming", "oci:"+imageLayout(t, under))
	req.Labels = map[string]string{"a": "1", lofn.LabelRuntime: "mine"}
	result := mustBuild(t, req)
	image, config := get(t, req.Images, result.Image)
	c := config.Config
	if config.OS != "linux" || config.Architecture != runtime.GOARCH || c.WorkingDir != "/home/app/function" {
		t.Errorf("configuration %+v", config)
	}
	if !slices.Equal(c.Entrypoint, []string{"/usr/bin/fwatchdog"}) || len(c.Cmd) > 0 || c.User != "12000:12000" || c.StopSignal != "" || c.Healthcheck != nil {
		t.Errorf("what is about the base's own program is still there: %+v", c)
	}
	if want := []string{"HOME=/tmp", "LANG=C.UTF-8", "PATH=/base/bin", "fprocess=bash ./handler.sh", "mode=streaming"}; !slices.Equal(c.Env, want) {
		t.Errorf("environment %q, want %q", c.Env, want)
	}
	if _, exposed := c.ExposedPorts["8080/tcp"]; !exposed || len(c.ExposedPorts) != 1 {
		t.Errorf("ports %v", c.ExposedPorts)
	}
	if len(c.Labels) != 1 || c.Labels["a"] != "1" {
		t.Errorf("labels %v", c.Labels)
	}
	checkLayers(t, image, under)
}

// checkLayers checks that an image stands on the base, and what is above it.
func checkLayers(t *testing.T, image, under v1.Image) {
	t.Helper()
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	below, err := under.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Layers) != len(below.Layers)+2 || manifest.Layers[0].Digest != below.Layers[0].Digest {
		t.Errorf("layers %v on %v", manifest.Layers, below.Layers)
	}
	for _, l := range manifest.Layers {
		if l.MediaType != "application/vnd.oci.image.layer.v1.tar+gzip" {
			t.Errorf("a layer is of type %s", l.MediaType)
		}
	}
	var names []string
	for _, h := range headers(t, image) {
		names = append(names, h.Name)
		if others := h.Mode & 0o004; others == 0 {
			t.Errorf("%s has mode %o: the function's user cannot read it", h.Name, h.Mode)
		}
	}
	want := []string{"etc/base", "usr/", "usr/bin/", "usr/bin/fwatchdog", "home/", "home/app/", "home/app/function/", "home/app/function/handler.sh", "home/app/function/lib.sh"}
	if !slices.Equal(names, want) {
		t.Errorf("entries %q, want %q", names, want)
	}
}

func TestSameInputSameContainerDigest(t *testing.T) {
	folder := imageLayout(t, baseImage(t, runtime.GOARCH))
	for name, request := range map[string]func() build.Request{
		"a base":  func() build.Request { return containerRequest(t, "bash-streaming", "oci:"+folder) },
		"scratch": func() build.Request { return plainRequest(t, "scratch") },
	} {
		if first, second := mustBuild(t, request()).Digest, mustBuild(t, request()).Digest; first != second {
			t.Errorf("on %s: %s and %s", name, first, second)
		}
	}
}

// plainRequest is a build with a template for files that the watchdog serves by
// itself.
func plainRequest(t *testing.T, base string) build.Request {
	t.Helper()
	req := containerRequest(t, "bash-streaming", base)
	req.Lang = "plain"
	write(t, req.Dir, "template/plain/template.yml", "language: plain\n")
	write(t, req.Dir, "template/plain/lofn.yml", "version: 1\nimage: {base: registry.invalid/plain:1, env: {mode: static}, layers: [{paths: {function: public}}]}\n")
	return req
}

func TestWhatScratchCannotRun(t *testing.T) {
	req := containerRequest(t, "bash-streaming", "scratch")
	if _, err := build.Build(context.Background(), req); lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), "base image scratch has no bash, which runs functions of template bash-streaming") {
		t.Errorf("got %v", err)
	}
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil || isStatic(t, shell) {
		t.Skip("needs a /bin/sh that is linked dynamically")
	}
	data, err := os.ReadFile(shell)
	if err != nil {
		t.Fatal(err)
	}
	req = plainRequest(t, "scratch")
	if err := os.WriteFile(filepath.Join(req.Dir, "fn", "tool"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := build.Build(context.Background(), req); lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), "/home/app/public/tool is linked dynamically, and base image scratch has no libraries") {
		t.Errorf("got %v", err)
	}
	req.Base = "oci:" + imageLayout(t, baseImage(t, runtime.GOARCH))
	mustBuild(t, req)
}

func TestUnchangedContainerIsNotBuiltAgain(t *testing.T) {
	req := containerRequest(t, "bash-streaming", "oci:"+imageLayout(t, baseImage(t, runtime.GOARCH)))
	first := mustBuild(t, req)
	if again := mustBuild(t, req); !again.Cached || again.Digest != first.Digest || again.Size != first.Size {
		t.Errorf("second build: %+v after %+v", again, first)
	}
	req.Base = "oci:" + imageLayout(t, baseImage(t, runtime.GOARCH, "OTHER=1"))
	if other := mustBuild(t, req); other.Cached || other.Digest == first.Digest {
		t.Error("another base goes unnoticed")
	}
	req.Base, req.Runtime = "", lofn.RuntimeProcess
	if host := mustBuild(t, req); host.Cached || host.Digest == first.Digest {
		t.Error("another runtime goes unnoticed")
	}
}

func TestBaseByBuildArgument(t *testing.T) {
	req := plainRequest(t, "")
	req.Args = map[string]string{"BASE_IMAGE": "scratch"}
	image, _ := get(t, req.Images, mustBuild(t, req).Image)
	if headers(t, image)[0].Name != "etc/" {
		t.Error("it does not stand on scratch")
	}
}

// TestGoOnScratch runs a function's image as a container would, but for the
// namespaces: its file system is all that the watchdog and the function see.
func TestGoOnScratch(t *testing.T) {
	unlessShort(t)
	req := containerRequest(t, "golang-middleware", "")
	var err error
	if req.Watchdogs, err = compiled("lofn/cmd/fwatchdog"); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(req.Watchdogs)
	image, config := get(t, req.Images, mustBuild(t, req).Image)
	root := t.TempDir()
	extract(t, image, root)
	passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	if err != nil || !strings.Contains(string(passwd), "\napp:x:12000:12000:") {
		t.Errorf("/etc/passwd: %q, %v", passwd, err)
	}
	pem, err := os.ReadFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"))
	if err != nil || !x509.NewCertPool().AppendCertsFromPEM(pem) {
		t.Errorf("no certificates: %v", err)
	}
	for _, h := range headers(t, image) {
		if h.Name == "tmp/" && h.Mode != 0o1777 {
			t.Errorf("/tmp has mode %o", h.Mode)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to run it in a root of its own")
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	f := startContainer(t, root, config.Config)
	resp, body := f.call(t, "GET", "/static", nil)
	if resp.StatusCode != 200 || len(body) == 0 {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
	f.terminate(t)
	if err := f.ended(t); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestContainerForAnotherProcessor(t *testing.T) {
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	req := containerRequest(t, "bash-streaming", "oci:"+imageLayout(t, baseImage(t, runtime.GOARCH)))
	req.Platforms = []string{"linux/" + other}
	_, err := build.Build(context.Background(), req)
	if want := "it is for linux/" + runtime.GOARCH + ", and the image is for linux/" + other; lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	req.Platforms = []string{"linux/riscv64"}
	if _, err := build.Build(context.Background(), req); lofn.CodeOf(err) != lofn.Unavailable || !strings.Contains(err.Error(), "fwatchdog for linux/riscv64") {
		t.Errorf("got %v", err)
	}
}

func TestInterpreterOfTheBase(t *testing.T) {
	needs(t, "python3")
	output, err := exec.Command("python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").Output()
	if err != nil {
		t.Fatal(err)
	}
	mine := strings.TrimSpace(string(output))
	for name, c := range map[string]struct {
		version string
		code    bool
		note    string
		err     string
	}{
		"same version, machine code":    {mine + ".9", true, "", ""},
		"other version, no code":        {"3.99.1", false, "has python3 3.99, and this machine, which installed and tested, has " + mine, ""},
		"other version, machine code":   {"3.99.1", true, "", "machine code (/home/app/function/native.so), which was installed for python3 " + mine + " of this machine, and base image"},
		"unknown version, machine code": {"", true, "does not say which version it has", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var env []string
			if c.version != "" {
				env = []string{"PYTHON_VERSION=" + c.version}
			}
			req, log := containerRequest(t, "python3-http", "oci:"+imageLayout(t, baseImage(t, runtime.GOARCH, env...))), &lines{}
			req.Log = log
			if c.code {
				own, err := os.ReadFile("/proc/self/exe")
				if err != nil {
					t.Fatal(err)
				}
				write(t, req.Dir, "fn/native.so", string(own[:64]))
			}
			_, err := build.Build(context.Background(), req)
			if c.err == "" && err != nil || c.err != "" && (lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v, want %q", err, c.err)
			}
			if c.note != "" && !strings.Contains(strings.Join(log.text, ""), c.note) {
				t.Errorf("the log has no %q: %q", c.note, log.text)
			}
		})
	}
}

func TestBaseFollowsTheInterpreter(t *testing.T) {
	req := containerRequest(t, "python3-http", "")
	req.Args = map[string]string{"PYTHON_VERSION": "3.99", "BASE_IMAGE": "oci:" + t.TempDir() + "/python-${PYTHON_VERSION}"}
	_, err := build.Build(context.Background(), req)
	if lofn.CodeOf(err) != lofn.NotFound || !strings.Contains(err.Error(), "/python-3.99/index.json is not there") {
		t.Errorf("got %v", err)
	}
	req.Args = map[string]string{"BASE_IMAGE": "python:${NONSENSE}"}
	if _, err := build.Build(context.Background(), req); lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), "${NONSENSE} is no variable of the build") {
		t.Errorf("got %v", err)
	}
}

// startContainer runs an image's entry point as its user in a root folder.
func startContainer(t *testing.T, root string, config v1.Config) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	_ = listener.Close()
	uid, err := strconv.Atoi(strings.Split(config.User, ":")[0])
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(config.Entrypoint[0])
	cmd.Dir, cmd.Env = config.WorkingDir, append(slices.Clone(config.Env), "port="+port, "upstream_url=", "listen_host=127.0.0.1", "metrics_port=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	return start(t, cmd, "tcp", address)
}

// machine is the processor that a program is for.
func machine(t *testing.T, file string) string {
	t.Helper()
	program, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	return map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}[program.Machine]
}
