package build_test

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"lofn"
	"lofn/internal/build"
)

// onlyPrograms makes PATH a folder with these scripts, by name, and links to
// what of the machine they need.
func onlyPrograms(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for _, tool := range []string{"sh", "bash", "cat", "cp", "git"} {
		if file, err := exec.LookPath(tool); err == nil {
			if err := os.Symlink(file, filepath.Join(dir, tool)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

// dockerfileRequest is a build of a handler folder with a Dockerfile.
func dockerfileRequest(t *testing.T, text string) build.Request {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "fn/Dockerfile", text)
	return build.Request{Name: "fn", Lang: "dockerfile", Handler: "./fn", Dir: dir, Images: openImages(t), Log: logLines{t}}
}

func TestNoBuilder(t *testing.T) {
	onlyPrograms(t, map[string]string{"docker": "echo working on it\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n"})
	req := dockerfileRequest(t, "FROM scratch\n")
	_, err := build.Build(context.Background(), req)
	for _, want := range []string{
		`function "fn": a Dockerfile needs a container builder, and none works here: `, "buildah is not installed (apt install buildah)",
		"docker is installed and does not work: Cannot connect to the Docker daemon (start the Docker engine)", "nerdctl is not installed",
	} {
		if lofn.CodeOf(err) != lofn.Unavailable || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for name, want := range map[string]string{
		"docker": `function "fn": builder: docker is installed and does not work: Cannot connect`,
		"kaniko": `builder: "kaniko" is not known: use one of buildah, podman, docker, nerdctl`,
	} {
		req.Builder = name
		if _, err := build.Build(context.Background(), req); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "buildah is not") {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}

func TestAdviceOnBuilders(t *testing.T) {
	onlyPrograms(t, map[string]string{"buildah": `[ "$1" = info ] && exit 0
echo 'Error: short-name "python:3" did not resolve to an alias' >&2
exit 125
`})
	_, err := build.Build(context.Background(), dockerfileRequest(t, "FROM python:3\n"))
	if lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), "buildah build failed: exit status 125\nFROM has a name without a registry") {
		t.Errorf("got %v", err)
	}
}

func TestFirstBuilderThatWorks(t *testing.T) {
	image := savedTo(t, map[string]v1.Image{"fn:latest": baseImage(t, runtime.GOARCH)})
	said := filepath.Join(t.TempDir(), "said")
	// It does as it is told, but makes an image that was made before.
	works := fmt.Sprintf(`printf '%%s\n' "$0" "$@" >> %[1]s
previous=
for argument; do
  case $previous in
    --iidfile) echo sha256:0123 > "$argument" ;;
    --output) cp %[2]s "$argument" ;;
  esac
  previous=$argument
done
`, said, image)
	onlyPrograms(t, map[string]string{"buildah": "exit 1\n", "docker": works, "nerdctl": works})
	req := dockerfileRequest(t, "FROM scratch\n")
	write(t, req.Dir, "secret.txt", "s")
	req.Args, req.Labels = map[string]string{"GO111MODULE": "off"}, map[string]string{"a": "1"}
	req.Secrets, req.NoCache, req.Pull = map[string]string{"token": "secret.txt"}, true, true
	result := mustBuild(t, req)
	standsOn(t, req.Images, result, baseImage(t, runtime.GOARCH))
	data, err := os.ReadFile(said)
	if err != nil {
		t.Fatal(err)
	}
	arguments := strings.Split(string(data), "\n")
	if !strings.HasSuffix(arguments[0], "/docker") {
		t.Errorf("%s was chosen", arguments[0])
	}
	for _, want := range [][]string{
		{"--build-arg", "ADDITIONAL_PACKAGE="}, {"--build-arg", "GO111MODULE=off"}, {"--label", "a=1"}, {"--secret", "id=token,src=" + filepath.Join(req.Dir, "secret.txt")},
		{"--no-cache"}, {"--pull"}, {"--platform", "linux/" + runtime.GOARCH}, {"--tag", "fn:latest"}, {"--file", filepath.Join(req.Dir, "fn/Dockerfile")},
		{"save", "--output"}, {"sha256:0123"},
	} {
		i := slices.Index(arguments, want[len(want)-1])
		if len(want) == 2 && want[0] == "save" {
			i = slices.Index(arguments, "--output")
		}
		if i < len(want)-1 || !slices.Equal(arguments[i-len(want)+1:i+1], want) {
			t.Errorf("no %q in %q", want, arguments)
		}
	}
}

// dockerfileTemplate writes a template that has only a Dockerfile.
func dockerfileTemplate(t *testing.T, dir, dockerfile string) {
	t.Helper()
	write(t, dir, "template/boxed/template.yml", "language: boxed\nfprocess: cat\nbuild_options:\n  - name: dev\n    packages: [make, gcc]\n")
	write(t, dir, "template/boxed/Dockerfile", dockerfile)
	write(t, dir, "template/boxed/entry.txt", "entry\n")
	write(t, dir, "template/boxed/function/starter", "")
}

// storage gives buildah and podman a place of their own, and ways that work
// inside a container, too.
func storage(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "lofn-builder-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	write(t, dir, "storage.conf", fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", dir+"/graph", dir+"/run"))
	t.Setenv("CONTAINERS_STORAGE_CONF", dir+"/storage.conf")
	t.Setenv("BUILDAH_ISOLATION", "chroot")
	t.Setenv("TMPDIR", dir)
}

// TestRealBuilders builds a template with a Dockerfile with every builder that
// works here.
func TestRealBuilders(t *testing.T) {
	unlessShort(t)
	busybox, err := exec.LookPath("busybox")
	if err != nil || !isStatic(t, busybox) {
		t.Skip("needs a static busybox (Debian: busybox-static) on this machine")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: without it, podman and buildah work too, but leave files of other users and a process")
	}
	for _, builder := range build.Builders() {
		t.Run(builder, func(t *testing.T) {
			if _, err := exec.LookPath(builder); err != nil {
				t.Skipf("needs %s on this machine", builder)
			}
			storage(t)
			dir := t.TempDir()
			dockerfileTemplate(t, dir, `FROM scratch
ARG ADDITIONAL_PACKAGE
ARG GREETING
ARG TARGETARCH
COPY busybox /bin/busybox
COPY entry.txt function/ /app/
RUN ["/bin/busybox", "sh", "-c", "echo $ADDITIONAL_PACKAGE $GREETING $TARGETARCH > /app/arguments"]
ENV fprocess=cat
CMD ["fwatchdog"]
`)
			write(t, dir, "fn/handler.txt", "handler\n")
			if data, err := os.ReadFile(busybox); err != nil || os.WriteFile(filepath.Join(dir, "template/boxed/busybox"), data, 0o755) != nil {
				t.Fatal(err)
			}
			req := build.Request{
				Name: "fn", Lang: "boxed", Handler: "./fn", Dir: dir, Images: openImages(t), Builder: builder, Log: logLines{t},
				Options: []string{"dev"}, Args: map[string]string{"GREETING": "hello"}, Labels: map[string]string{"a": "1"}, Image: "prefix/fn:1",
			}
			result, err := build.Build(context.Background(), req)
			if lofn.CodeOf(err) == lofn.Unavailable {
				t.Skipf("needs a %s that works: %v", builder, err)
			}
			if err != nil {
				t.Fatal(err)
			}
			image, config := get(t, req.Images, result.Image)
			if config.Config.Labels["a"] != "1" || !slices.Contains(config.Config.Env, "fprocess=cat") || result.Digest == "" || result.Size == 0 {
				t.Errorf("result %+v, configuration %+v", result, config.Config)
			}
			root := t.TempDir()
			extract(t, image, root)
			for name, want := range map[string]string{"entry.txt": "entry\n", "handler.txt": "handler\n", "arguments": "make gcc hello " + runtime.GOARCH + "\n"} {
				if got, err := os.ReadFile(filepath.Join(root, "app", name)); string(got) != want {
					t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
				}
			}
			forTwo(t, req)
			breakIt(t, req)
		})
	}
}

// forTwo builds for two processors, which needs no emulation if nothing runs.
func forTwo(t *testing.T, req build.Request) {
	t.Helper()
	write(t, req.Dir, "template/boxed/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY entry.txt /$TARGETARCH\n")
	req.Image, req.Platforms = "prefix/two:1", []string{"linux/amd64", "linux/arm64"}
	host, _ := serveRegistry(t, inMemory(), nil)
	result := mustBuild(t, req)
	if digest, err := build.Push(context.Background(), req.Images, req.Image, build.PushOptions{Gateway: "http://" + host}); err != nil || digest != result.Digest {
		t.Fatalf("pushed %s, %v, built %s", digest, err, result.Digest)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := remote.Image(reference(t, host+"/prefix/two:1"), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
		if err != nil {
			t.Fatal(err)
		}
		root := t.TempDir()
		extract(t, image, root)
		if _, err := os.Stat(filepath.Join(root, arch)); err != nil {
			t.Error(err)
		}
	}
}

func isStatic(t *testing.T, file string) bool {
	t.Helper()
	program, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	return program.Section(".interp") == nil
}

// breakIt builds with a step that fails.
func breakIt(t *testing.T, req build.Request) {
	t.Helper()
	write(t, req.Dir, "template/boxed/Dockerfile", "FROM scratch\nCOPY nothing /nothing\n")
	req.Log, req.Image = nil, "prefix/broken:1"
	_, err := build.Build(context.Background(), req)
	if lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), req.Builder+" build failed: exit status") || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("got %v", err)
	}
	if _, err := req.Images.Get(req.Image); lofn.CodeOf(err) != lofn.NotFound {
		t.Errorf("there is an image all the same: %v", err)
	}
}

func TestDockerfileIsForContainersOnly(t *testing.T) {
	req := dockerfileRequest(t, "FROM scratch\n")
	req.Base = "oci:somewhere"
	if _, err := build.Build(context.Background(), req); lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), "base: only images for containers that a lofn.yml describes") {
		t.Errorf("base: got %v", err)
	}
}

// The stand-in for an official template builds processes, its own Dockerfile
// containers.
func TestOfficialTemplateForContainers(t *testing.T) {
	onlyPrograms(t, nil)
	dir := workingFolder(t, "bash-streaming")
	write(t, dir, "template/bash-streaming/template.yml", "language: bash-streaming\nfprocess: old\n")
	write(t, dir, "template/bash-streaming/Dockerfile", "FROM scratch\n")
	write(t, dir, "template/bash-streaming/meta.json", `{"repository": "https://github.com/openfaas/templates.git"}`)
	req := build.Request{Name: "fn", Lang: "bash-streaming", Handler: "./fn", Dir: dir, Images: openImages(t), Runtime: lofn.RuntimeContainer}
	if _, err := build.Build(context.Background(), req); lofn.CodeOf(err) != lofn.Unavailable || !strings.Contains(err.Error(), "a Dockerfile needs a container builder") {
		t.Errorf("got %v", err)
	}
	req.Shrinkwrap = true
	result := mustBuild(t, req)
	if _, err := os.Stat(filepath.Join(result.Folder, "Dockerfile")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(result.Folder, "function", "handler.sh")); errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
