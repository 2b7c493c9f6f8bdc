package build_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lofn"
	"lofn/internal/build"
)

func allTemplates() []string {
	return []string{"golang-middleware", "python3-http", "python3", "node22", "bash-streaming"}
}

// lines collects a build's progress.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(p))
	return len(p), nil
}

func (l *lines) has(prefix string) bool {
	return slices.ContainsFunc(l.text, func(s string) bool { return strings.HasPrefix(s, prefix) })
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// unlessShort skips a test in which a toolchain or a package manager works for
// seconds.
func unlessShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short")
	}
}

func TestSameInputSameDigest(t *testing.T) {
	for _, lang := range allTemplates() {
		t.Run(lang, func(t *testing.T) {
			needs(t, lang)
			build1 := func(mode fs.FileMode, at time.Time) string {
				dir := workingFolder(t, lang)
				err := filepath.WalkDir(filepath.Join(dir, "fn"), func(file string, d fs.DirEntry, err error) error {
					if err != nil || d.IsDir() {
						return err
					}
					return errors.Join(os.Chmod(file, mode), os.Chtimes(file, at, at))
				})
				if err != nil {
					t.Fatal(err)
				}
				return mustBuild(t, build.Request{Name: "fn", Lang: lang, Handler: "./fn", Dir: dir, Images: openImages(t)}).Digest
			}
			first := build1(0o644, time.Unix(1, 0))
			if second := build1(0o600, time.Now()); first != second {
				t.Errorf("%s and %s", first, second)
			}
		})
	}
}

func TestUnchangedFunctionIsNotBuiltAgain(t *testing.T) {
	needs(t, "bash")
	dir, log := workingFolder(t, "bash-streaming"), &lines{}
	req := build.Request{Name: "fn", Lang: "bash", Handler: "./fn", Dir: dir, Images: openImages(t), Log: log}
	run := func(req build.Request) build.Result {
		t.Helper()
		log.text = nil
		result, err := build.Build(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	first := run(req)
	if first.Cached || !log.has("check handler.sh: ") || first.Size == 0 {
		t.Errorf("first build: %+v, %q", first, log.text)
	}
	if again := run(req); !again.Cached || again.Digest != first.Digest || again.Size != first.Size || len(log.text) > 0 {
		t.Errorf("second build: %+v, %q", again, log.text)
	}
	req.Image = "prefix/fn:v2"
	if renamed := run(req); !renamed.Cached || renamed.Digest != first.Digest {
		t.Errorf("under another name: %+v", renamed)
	}
	if _, err := req.Images.Get("prefix/fn:v2"); err != nil {
		t.Error(err)
	}
	req.NoCache = true
	if fresh := run(req); fresh.Cached || fresh.Digest != first.Digest || !log.has("check handler.sh: ") {
		t.Errorf("with NoCache: %+v, %q", fresh, log.text)
	}
	req.NoCache = false
	for what, change := range map[string]func(){
		"handler":   func() { write(t, dir, "fn/lib.sh", "shout() { printf '%s' \"$1\"; }\n") },
		"new file":  func() { write(t, dir, "fn/more.txt", "") },
		"arguments": func() { req.Args = map[string]string{"A": "1"} },
		"labels":    func() { req.Labels = map[string]string{"a": "1"} },
	} {
		if change(); run(req).Cached {
			t.Errorf("a change of the %s goes unnoticed", what)
		}
	}
}

func TestImage(t *testing.T) {
	needs(t, "bash")
	dir, images := workingFolder(t, "bash-streaming"), openImages(t)
	if err := os.Chmod(filepath.Join(dir, "fn", "handler.sh"), 0o711); err != nil {
		t.Fatal(err)
	}
	result := mustBuild(t, build.Request{Name: "fn", Lang: "bash", Handler: "./fn", Dir: dir, Images: images, Labels: map[string]string{"a": "1", lofn.LabelRuntime: "mine"}})
	image, err := images.Get(result.Image)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config
	if config.OS != "linux" || config.Architecture == "" || c.WorkingDir != "/home/app/function" || !slices.Equal(c.Cmd, []string{"fwatchdog"}) {
		t.Errorf("configuration %+v", config)
	}
	if !slices.Equal(c.Env, []string{"fprocess=bash ./handler.sh", "mode=streaming"}) {
		t.Errorf("environment %q", c.Env)
	}
	if len(c.Labels) != 3 || c.Labels["a"] != "1" || c.Labels[lofn.LabelRuntime] != lofn.RuntimeHost || c.Labels[lofn.LabelArchitecture] != lofn.ArchitectureAny {
		t.Errorf("labels %v", c.Labels)
	}
	var got []string
	for _, h := range headers(t, image) {
		got = append(got, h.Name)
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || !h.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s: owner %d:%d %q, time %v", h.Name, h.Uid, h.Gid, h.Uname, h.ModTime)
		}
		if want := int64(0o644); strings.HasSuffix(h.Name, "lib.sh") && h.Mode != want || strings.HasSuffix(h.Name, "handler.sh") && h.Mode != 0o755 {
			t.Errorf("%s: mode %o", h.Name, h.Mode)
		}
	}
	want := []string{"home/", "home/app/", "home/app/function/", "home/app/function/handler.sh", "home/app/function/lib.sh"}
	if !slices.Equal(got, want) {
		t.Errorf("entries %q, want %q", got, want)
	}
}

func TestSourceDateEpoch(t *testing.T) {
	needs(t, "bash")
	req := build.Request{Name: "fn", Lang: "bash", Handler: "./fn", Dir: workingFolder(t, "bash-streaming"), Images: openImages(t)}
	first := mustBuild(t, req)
	t.Setenv("SOURCE_DATE_EPOCH", "86400")
	second := mustBuild(t, req)
	if second.Cached || second.Digest == first.Digest {
		t.Error("the time has no effect")
	}
	image, err := req.Images.Get(second.Image)
	if err != nil {
		t.Fatal(err)
	}
	if at := headers(t, image)[0].ModTime; !at.Equal(time.Unix(86400, 0)) {
		t.Errorf("time %v", at)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := build.Build(context.Background(), req); lofn.CodeOf(err) != lofn.Invalid {
		t.Errorf("got %v", err)
	}
}

func headers(t *testing.T, image v1.Image) []*tar.Header {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var all []*tar.Header
	for _, l := range layers {
		stream, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for reader := tar.NewReader(stream); ; {
			h, err := reader.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, h)
		}
		stream.Close()
	}
	return all
}

func TestGoForAnotherProcessor(t *testing.T) {
	unlessShort(t)
	needs(t, "golang-middleware")
	images := openImages(t)
	result := mustBuild(t, build.Request{
		Name: "fn", Lang: "go", Handler: "./fn", Dir: workingFolder(t, "golang-middleware"), Images: images,
		Platforms: []string{"linux/arm64"}, Args: map[string]string{"TEST_ENABLED": "false"},
	})
	image, err := images.Get(result.Image)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if _, any := config.Config.Labels[lofn.LabelArchitecture]; config.Architecture != "arm64" || any {
		t.Errorf("architecture %s, labels %v", config.Architecture, config.Config.Labels)
	}
	f := unpack(t, images, result.Image)
	program, err := elf.Open(filepath.Join(f.dir, "handler"))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if program.Machine != elf.EM_AARCH64 {
		t.Errorf("the program is for %v", program.Machine)
	}
}

func TestMachineCodeForAnotherProcessorIsRefused(t *testing.T) {
	needs(t, "bash")
	dir := workingFolder(t, "bash-streaming")
	write(t, dir, "fn/tool", "\x7fELF\x02\x01\x01"+strings.Repeat("\x00", 9)+"\x02\x00\xb7\x00"+"rest")
	req := build.Request{Name: "fn", Lang: "bash", Handler: "./fn", Dir: dir, Images: openImages(t), Platforms: []string{"linux/amd64"}}
	_, err := build.Build(context.Background(), req)
	if err == nil || !strings.Contains(err.Error(), "machine code for arm64 (/home/app/function/tool), and the image is for linux/amd64") {
		t.Errorf("got %v", err)
	}
	req.Platforms = []string{"linux/arm64"}
	mustBuild(t, req)
}

// TestPythonRequirements installs a wheel that lies in the handler folder.
func TestPythonRequirements(t *testing.T) {
	unlessShort(t)
	needs(t, "python3-http")
	if exec.Command("python3", "-m", "pip", "--version").Run() != nil {
		t.Skip("needs pip on this machine")
	}
	dir, log, images := workingFolder(t, "python3-http"), &lines{}, openImages(t)
	wheel(t, filepath.Join(dir, "fn", "greet-1.0-py3-none-any.whl"))
	write(t, dir, "fn/requirements.txt", "# ours\n./greet-1.0-py3-none-any.whl\n")
	write(t, dir, "fn/handler.py", "import greet\n\ndef handle(event, context):\n    return greet.hello()\n")
	req := build.Request{Name: "fn", Lang: "python", Handler: "./fn", Dir: dir, Images: images, Log: log}
	result, err := build.Build(context.Background(), req)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.text)
	}
	if _, body := unpack(t, images, result.Image).serve(t).call(t, "GET", "/", nil); string(body) != "hello from a package" {
		t.Errorf("got %q", body)
	}
	below := layerDigests(t, images, result.Image)
	if len(below) != 2 {
		t.Fatalf("%d layers, want packages and function apart", len(below))
	}
	// A slip in the handler and its repair cost no new installation.
	write(t, dir, "fn/handler.py", "def handle(event, context:\n")
	if _, err := build.Build(context.Background(), req); err == nil || !strings.Contains(err.Error(), `step "check handler.py" failed`) {
		t.Errorf("got %v", err)
	}
	write(t, dir, "fn/handler.py", "def handle(event, context):\n    return ''\n")
	log.text = nil
	result = mustBuildLogged(t, req)
	if log.has("install requirements.txt: ") {
		t.Errorf("the packages were installed again: %q", log.text)
	}
	if after := layerDigests(t, images, result.Image); after[0] != below[0] || after[1] == below[1] {
		t.Errorf("layers %v became %v", below, after)
	}
	write(t, dir, "fn/requirements.txt", "")
	if result = mustBuildLogged(t, req); len(layerDigests(t, images, result.Image)) != 1 {
		t.Error("packages that are no longer required are still in the image")
	}
}

func mustBuildLogged(t *testing.T, req build.Request) build.Result {
	t.Helper()
	result, err := build.Build(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func layerDigests(t *testing.T, images *build.Images, name string) []v1.Hash {
	t.Helper()
	image, err := images.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var all []v1.Hash
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, digest)
	}
	return all
}

// wheel writes a Python package that pip can install without a network.
func wheel(t *testing.T, file string) {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range map[string]string{
		"greet.py":                     "def hello():\n    return 'hello from a package'\n",
		"greet-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: greet\nVersion: 1.0\n",
		"greet-1.0.dist-info/WHEEL":    "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"greet-1.0.dist-info/RECORD":   "greet.py,,\ngreet-1.0.dist-info/METADATA,,\ngreet-1.0.dist-info/WHEEL,,\ngreet-1.0.dist-info/RECORD,,\n",
	} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestNodeDependencies installs a package that lies in the handler folder, and
// one for the tests that must not reach the image.
func TestNodeDependencies(t *testing.T) {
	unlessShort(t)
	needs(t, "npm")
	dir, images := workingFolder(t, "node22"), openImages(t)
	for _, name := range []string{"greet", "check"} {
		write(t, dir, "fn/"+name+"/package.json", `{"name": "`+name+`", "version": "1.0.0", "main": "index.js"}`)
		write(t, dir, "fn/"+name+"/index.js", "module.exports = () => 'hello from a package'\n")
	}
	write(t, dir, "fn/package.json", `{"name": "function", "dependencies": {"greet": "file:greet"}}`)
	write(t, dir, "fn/handler.js", "const greet = require('greet')\nmodule.exports = async () => greet()\n")
	req := build.Request{Name: "fn", Lang: "node", Handler: "./fn", Dir: dir, Images: images}
	result := mustBuild(t, req)
	if _, body := unpack(t, images, result.Image).serve(t).call(t, "GET", "/", nil); string(body) != "hello from a package" {
		t.Errorf("got %q", body)
	}
	write(t, dir, "fn/package.json", `{"name": "function", "scripts": {"test": "node -e \"require('check')\""},
		"dependencies": {"greet": "file:greet"}, "devDependencies": {"check": "file:check"}}`)
	f := unpack(t, images, mustBuild(t, req).Image)
	if isThere(f.dir, "function/node_modules/check") || !isThere(f.dir, "function/node_modules/greet") {
		t.Error("the image must have the packages for running, and not those for testing")
	}
	write(t, dir, "fn/package.json", `{"name": "function", "scripts": {"test": "exit 3"}}`)
	if _, err := build.Build(context.Background(), req); err == nil || !strings.Contains(err.Error(), `step "test" failed`) {
		t.Errorf("got %v", err)
	}
	req.Args = map[string]string{"TEST_ENABLED": "false"}
	mustBuild(t, req)
}

func TestUnreachablePackageIndex(t *testing.T) {
	unlessShort(t)
	needs(t, "python3-http")
	if exec.Command("python3", "-m", "pip", "--version").Run() != nil {
		t.Skip("needs pip on this machine")
	}
	dir, log := workingFolder(t, "python3-http"), &lines{}
	write(t, dir, "fn/requirements.txt", "requests\n")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	index := "http://" + listener.Addr().String() + "/simple"
	listener.Close()
	// The machine's own settings must not find the package elsewhere.
	args := map[string]string{"PIP_CONFIG_FILE": os.DevNull, "PIP_INDEX_URL": index, "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "no_proxy": "127.0.0.1"}
	_, err = build.Build(t.Context(), build.Request{Name: "fn", Lang: "python3-http", Handler: "./fn", Dir: dir, Images: openImages(t), Args: args, Log: log})
	if err == nil || !strings.Contains(err.Error(), "the package index cannot be reached: ") {
		t.Errorf("got %v", err)
	}
	if n := strings.Count(strings.Join(log.text, ""), "after connection broken by"); n != 1 {
		t.Errorf("pip complains %d times, want once:\n%s", n, strings.Join(log.text, ""))
	}
}

func TestGoModulesAndTests(t *testing.T) {
	unlessShort(t)
	needs(t, "golang-middleware")
	dir, images := workingFolder(t, "golang-middleware"), openImages(t)
	write(t, dir, "fn/go.mod", "module handler/function\n\ngo 1.21\n\nrequire example.com/greet v1.0.0\n\nreplace example.com/greet => ./greet\n")
	write(t, dir, "fn/greet/go.mod", "module example.com/greet\n\ngo 1.21\n")
	write(t, dir, "fn/greet/greet.go", "package greet\n\nfunc Hello() string { return \"hello from a package\" }\n")
	write(t, dir, "fn/handler.go", `package function

import (
	"io"
	"net/http"

	"example.com/greet"
)

func Handle(w http.ResponseWriter, r *http.Request) { io.WriteString(w, greet.Hello()) }
`)
	req := build.Request{Name: "fn", Lang: "go", Handler: "./fn", Dir: dir, Images: images}
	_, err := build.Build(context.Background(), req)
	if err == nil || !strings.Contains(err.Error(), `step "test" failed`) || !strings.Contains(err.Error(), "status 200") {
		t.Errorf("a failing test of the function: got %v", err)
	}
	req.Args = map[string]string{"TEST_ENABLED": "false"}
	if _, body := unpack(t, images, mustBuild(t, req).Image).serve(t).call(t, "GET", "/", nil); string(body) != "hello from a package" {
		t.Errorf("got %q", body)
	}
	write(t, dir, "fn/handler.go", "package function\n\nfunc Handler() {}\n")
	_, err = build.Build(context.Background(), req)
	if err == nil || !strings.Contains(err.Error(), "handler.go must have func Handle(w http.ResponseWriter, r *http.Request)") {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "fn", "go.mod")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "fn/handler.go", "package function\n\nimport \"net/http\"\n\nfunc Handle(http.ResponseWriter, *http.Request) {}\n")
	if err := os.RemoveAll(filepath.Join(dir, "fn", "greet")); err != nil {
		t.Fatal(err)
	}
	mustBuild(t, req)
}

func TestParallelBuilds(t *testing.T) {
	needs(t, "bash")
	dir, images := workingFolder(t, "bash-streaming"), openImages(t)
	digests := make([]string, 12)
	var wg sync.WaitGroup
	for i := range digests {
		wg.Go(func() {
			name := "fn-" + string(rune('a'+i%4))
			result, err := build.Build(context.Background(), build.Request{Name: name, Lang: "bash", Handler: "./fn", Dir: dir, Images: images, NoCache: i%2 == 0})
			if err != nil {
				t.Error(err)
			}
			digests[i] = result.Digest
		})
	}
	wg.Wait()
	if slices.Sort(digests); digests[0] != digests[len(digests)-1] {
		t.Errorf("digests %v", digests)
	}
	stored, err := images.List()
	if err != nil || len(stored) != 4 {
		t.Errorf("stored %v, %v", stored, err)
	}
}

func TestShrinkwrap(t *testing.T) {
	dir := workingFolder(t, "golang-middleware")
	result, err := build.Build(context.Background(), build.Request{Name: "fn", Lang: "go", Handler: "./fn", Dir: dir, Shrinkwrap: true})
	if err != nil {
		t.Fatal(err)
	}
	if result.Digest != "" || !isThere(result.Folder, "function/handler.go") || isThere(result.Folder, "handler") {
		t.Errorf("got %+v", result)
	}
}
