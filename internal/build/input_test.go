package build_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lofn"
	"lofn/internal/build"
)

func TestBadRequests(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string, req *build.Request)
		code   lofn.Code
		want   string
	}{
		"name":     {func(_ *testing.T, _ string, r *build.Request) { r.Name = "My_Fn" }, lofn.Invalid, `function name: "My_Fn" is invalid`},
		"no lang":  {func(_ *testing.T, _ string, r *build.Request) { r.Lang = "" }, lofn.Invalid, `function "fn": lang: is required`},
		"language": {func(_ *testing.T, _ string, r *build.Request) { r.Lang = "cobol" }, lofn.NotFound, `function "fn": template "cobol" is not known: use one of: bash-streaming, dockerfile, golang-middleware`},
		"path":     {func(_ *testing.T, _ string, r *build.Request) { r.Lang = "../x" }, lofn.Invalid, `lang: "../x" is not the name of a template`},
		"docker":   {func(_ *testing.T, _ string, r *build.Request) { r.Lang = "dockerfile" }, lofn.NotFound, "Dockerfile is not in the handler folder"},
		"platform": {func(_ *testing.T, _ string, r *build.Request) { r.Platforms = []string{"darwin/arm64"} }, lofn.Invalid, `platform: "darwin/arm64" is not supported`},
		"option":   {func(_ *testing.T, _ string, r *build.Request) { r.Options = []string{"dev"} }, lofn.Invalid, `build option "dev" is not known to template bash-streaming, which has no build options`},
		"no handler": {func(_ *testing.T, _ string, r *build.Request) { r.Handler = "" }, lofn.Invalid,
			"handler: is required: name the folder with its code, such as ./fn"},
		"missing folder": {func(_ *testing.T, _ string, r *build.Request) { r.Handler = "./gone" }, lofn.NotFound,
			"handler folder ./gone does not exist: make it with: lofn new fn --lang bash"},
		"handler is a file": {func(_ *testing.T, _ string, r *build.Request) { r.Handler = "./fn/handler.sh" }, lofn.Invalid,
			"./fn/handler.sh is a file: name the folder that it is in"},
		"missing file": {func(t *testing.T, dir string, _ *build.Request) { remove(t, dir, "fn/handler.sh") }, lofn.NotFound,
			"handler.sh is not in the handler folder ./fn, and template bash-streaming needs it"},
		"syntax": {func(t *testing.T, dir string, _ *build.Request) { write(t, dir, "fn/handler.sh", "if then\n") }, lofn.Invalid,
			`step "check handler.sh" failed: exit status 2`},
		"copy outside": {func(_ *testing.T, _ string, r *build.Request) { r.Copy = []string{"../other"} }, lofn.NotFound, "copy: ../other does not exist"},
		"copy parent":  {func(_ *testing.T, _ string, r *build.Request) { r.Copy = []string{".."} }, lofn.Invalid, "copy: .. must be a folder or file inside the working folder"},
		"copy all":     {func(_ *testing.T, _ string, r *build.Request) { r.Copy = []string{"."} }, lofn.Invalid, "and not that folder itself"},
		"copy through a link": {func(t *testing.T, dir string, r *build.Request) {
			link(t, os.TempDir(), filepath.Join(dir, "out"))
			r.Copy = []string{"out"}
		}, lofn.Invalid, "copy: out must be a folder or file inside the working folder"},
		"link to nothing": {func(t *testing.T, dir string, _ *build.Request) { link(t, "gone", filepath.Join(dir, "fn", "l")) }, lofn.Invalid,
			"is a link to nothing: gone"},
		"endless link": {func(t *testing.T, dir string, _ *build.Request) { link(t, dir, filepath.Join(dir, "fn", "l")) }, lofn.Invalid,
			"leads back to a folder that it is in"},
		"pipe": {func(t *testing.T, dir string, _ *build.Request) {
			if err := syscall.Mkfifo(filepath.Join(dir, "fn", "p"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, lofn.Invalid, "is neither a file nor a folder"},
	} {
		t.Run(name, func(t *testing.T) {
			needs(t, "bash")
			dir := workingFolder(t, "bash-streaming")
			req := build.Request{Name: "fn", Lang: "bash", Handler: "./fn", Dir: dir, Images: openImages(t)}
			c.change(t, dir, &req)
			_, err := build.Build(context.Background(), req)
			if err == nil || lofn.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v (code %d), want %q (code %d)", err, lofn.CodeOf(err), c.want, c.code)
			}
		})
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func TestMissingTools(t *testing.T) {
	dir := workingFolder(t, "python3-http")
	tools := t.TempDir()
	t.Setenv("PATH", tools)
	req := build.Request{Name: "fn", Lang: "python3-http", Handler: "./fn", Dir: dir, Images: openImages(t)}
	_, err := build.Build(context.Background(), req)
	if want := `function "fn" (template python3-http) needs python3 (3.8 or newer) to build: install it with: apt install python3`; err == nil || err.Error() != want {
		t.Errorf("missing: got %v, want %s", err, want)
	}
	write(t, tools, "python3", "#!/bin/sh\necho Python 3.6.9\n")
	if err := os.Chmod(filepath.Join(tools, "python3"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = build.Build(context.Background(), req)
	if err == nil || !strings.Contains(err.Error(), "to build, and this machine has 3.6.9: install it with") {
		t.Errorf("too old: got %v", err)
	}
	write(t, tools, "python3", "#!/bin/sh\ncase \"$*\" in --version) echo Python 3.12.1;; *pip*) echo No module named pip; exit 1;; esac\n")
	write(t, dir, "fn/requirements.txt", "requests\n")
	_, err = build.Build(context.Background(), req)
	if err == nil || !strings.Contains(err.Error(), "needs python3 with -m pip to build: install it with: apt install python3-pip") {
		t.Errorf("no pip: got %v", err)
	}
}

func TestCopy(t *testing.T) {
	needs(t, "bash")
	dir := workingFolder(t, "bash-streaming")
	write(t, dir, "shared/models/a.txt", "a")
	write(t, dir, "shared/b.txt", "b")
	outside := t.TempDir()
	write(t, outside, "c.txt", "c")
	link(t, outside, filepath.Join(dir, "fn", "outside"))
	link(t, "lib.sh", filepath.Join(dir, "fn", "inside.sh"))
	write(t, dir, "fn/.git/config", "")
	images := openImages(t)
	result := mustBuild(t, build.Request{Name: "fn", Lang: "bash", Handler: "./fn", Dir: dir, Images: images, Copy: []string{"./shared/models"}})
	f := unpack(t, images, result.Image)
	for name, want := range map[string]bool{
		"shared/models/a.txt": true, "shared/b.txt": false, "outside/c.txt": true, "inside.sh": true, ".git": false,
	} {
		if isThere(f.dir, name) != want {
			t.Errorf("%s is there: %v, want %v", name, !want, want)
		}
	}
	if target, err := os.Readlink(filepath.Join(f.dir, "inside.sh")); target != "lib.sh" {
		t.Errorf("a link inside the folder became %q, %v", target, err)
	}
}

// TestHandlerIsTheWorkingFolder must not copy the build folder into itself.
func TestHandlerIsTheWorkingFolder(t *testing.T) {
	needs(t, "bash")
	dir := filepath.Join(workingFolder(t, "bash-streaming"), "fn")
	write(t, dir, "template/mine/template.yml", "language: mine\n")
	images := openImages(t)
	req := build.Request{Name: "fn", Lang: "bash", Handler: ".", Dir: dir, Images: images}
	first := mustBuild(t, req)
	if again := mustBuild(t, req); !again.Cached || again.Digest != first.Digest {
		t.Error("the first build changed the input of the second")
	}
	f := unpack(t, images, first.Image)
	if isThere(f.dir, "build") || isThere(f.dir, "template") {
		t.Error("build and template are in the image")
	}
}

func TestCancelledBuildEndsItsTools(t *testing.T) {
	needs(t, "bash")
	dir := workingFolder(t, "bash-streaming")
	pids := t.TempDir()
	write(t, dir, "template/slow/template.yml", "language: slow\n")
	write(t, dir, "template/slow/lofn.yml", `
version: 1
steps:
  - name: wait
    run: [sh, -c, 'sleep 600 & echo $! > "$PIDS/new" && mv "$PIDS/new" "$PIDS/pid"; wait']
image:
  layers: [{paths: {function: function}}]
`)
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error, 1)
	go func() {
		_, err := build.Build(ctx, build.Request{Name: "fn", Lang: "slow", Handler: "./fn", Dir: dir, Images: openImages(t), Args: map[string]string{"PIDS": pids}})
		failed <- err
	}()
	eventually(t, "the step runs", func() bool { return isThere(pids, "pid") })
	cancel()
	select {
	case err := <-failed:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the build goes on")
	}
	pid, err := os.ReadFile(filepath.Join(pids, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tool's own children end", func() bool { return !runs(strings.TrimSpace(string(pid))) })
}

// runs reports whether a process has not ended; one that only waits to be
// collected has.
func runs(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestOwnTemplates(t *testing.T) {
	needs(t, "bash")
	dir := workingFolder(t, "bash-streaming")
	write(t, dir, "template/shout/template.yml", "language: shout\nfprocess: bash main.sh\nhandler_folder: code\nbuild_options:\n  - name: dev\n    packages: [make, gcc]\n")
	write(t, dir, "template/shout/main.sh", ". code/handler.sh\n")
	write(t, dir, "template/shout/code/starter.sh", "")
	write(t, dir, "template/shout/lofn.yml", `
version: 1
aliases: [loud]
env: {GREETING: default}
steps:
  - name: write
    run: [sh, -c, 'printf "%s %s %s" "$GREETING" "$TARGETARCH" "$ADDITIONAL_PACKAGE" > out.txt']
image:
  env: {mode: streaming, fprocess: bash main.sh}
  layers:
    - paths: {main.sh: main.sh, out.txt: out.txt, code: code}
`)
	images, log := openImages(t), &lines{}
	result, err := build.Build(context.Background(), build.Request{
		Name: "fn", Lang: "loud", Handler: "./fn", Dir: dir, Images: images, Log: log, Platforms: []string{"linux/arm64"},
		Args: map[string]string{"GREETING": "hello"}, Options: []string{"dev"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if result.Process != "bash main.sh" || !log.has("the machines that run this function need the packages make, gcc") {
		t.Errorf("got %+v, %q", result, log.text)
	}
	f := unpack(t, images, result.Image)
	if out, err := os.ReadFile(filepath.Join(f.dir, "out.txt")); string(out) != "hello arm64 make gcc" {
		t.Errorf("the step saw %q, %v", out, err)
	}
	if isThere(f.dir, "code/starter.sh") || !isThere(f.dir, "code/handler.sh") {
		t.Error("the handler must take the place of the starter files")
	}
}

func TestBadTemplates(t *testing.T) {
	for name, c := range map[string]struct{ recipe, want string }{
		"not YAML":     {"a: b: c", "lofn.yml: mapping values are not allowed"},
		"unknown key":  {"version: 1\nstepz: []\n", `unknown key "stepz"`},
		"no version":   {"image: {layers: [{paths: {a: a}}]}\n", "version: must be 1, not 0"},
		"no layers":    {"version: 1\n", "image.layers: must name the paths"},
		"no command":   {"version: 1\nsteps: [{name: x}]\nimage: {layers: [{paths: {a: a}}]}\n", "steps[0]: run: is required"},
		"climbing out": {"version: 1\nimage: {layers: [{paths: {../../secret: a}}]}\n", `"../../secret" must be a relative path`},
		"missing path": {"version: 1\nimage: {layers: [{paths: {gone: a}}]}\n", "the build did not make gone"},
		"place":        {"version: 1\nplace: {gone: a}\nimage: {layers: [{paths: {function: a}}]}\n", "place: gone is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := workingFolder(t, "bash-streaming")
			write(t, dir, "template/mine/template.yml", "language: mine\n")
			write(t, dir, "template/mine/lofn.yml", c.recipe)
			_, err := build.Build(context.Background(), build.Request{Name: "fn", Lang: "mine", Handler: "./fn", Dir: dir, Images: openImages(t)})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestTemplatesWithOnlyADockerfile(t *testing.T) {
	needs(t, "bash")
	dir := workingFolder(t, "bash-streaming")
	write(t, dir, "template/bash-streaming/template.yml", "language: bash-streaming\nfprocess: old\n")
	write(t, dir, "template/bash-streaming/Dockerfile", "FROM scratch\n")
	req := build.Request{Name: "fn", Lang: "bash-streaming", Handler: "./fn", Dir: dir, Images: openImages(t), Runtime: lofn.RuntimeProcess}
	_, err := build.Build(context.Background(), req)
	if err == nil || lofn.CodeOf(err) != lofn.Unimplemented || !strings.Contains(err.Error(), "has only a Dockerfile, which makes images for containers and not for processes: to use the built-in bash-streaming, delete ./template/bash-streaming or run: lofn template pull") {
		t.Errorf("somebody's own: got %v", err)
	}
	write(t, dir, "template/bash-streaming/meta.json", `{"repository": "https://github.com/openfaas/templates.git"}`)
	log := &lines{}
	req.Log = log
	result := mustBuildLogged(t, req)
	if result.Process != "bash ./handler.sh" || !log.has(filepath.Join(dir, "template/bash-streaming")+" has only a Dockerfile: using the built-in bash-streaming") {
		t.Errorf("the official one: got %+v, %q", result, log.text)
	}
	write(t, dir, "template/other/template.yml", "language: other\n")
	req.Lang = "other"
	if _, err := build.Build(context.Background(), req); err == nil || !strings.Contains(err.Error(), "or use one of: bash-streaming") {
		t.Errorf("an unknown one: got %v", err)
	}
	req.Runtime = ""
	if _, err := build.Build(context.Background(), req); err == nil || !strings.Contains(err.Error(), "template other has neither a lofn.yml nor a Dockerfile") {
		t.Errorf("one of nothing: got %v", err)
	}
}

func TestPinnedTemplateVersion(t *testing.T) {
	built, err := build.FindTemplate(t.TempDir(), "python3-http@1.2")
	if err != nil {
		t.Fatal(err)
	}
	if !built.BuiltIn || !strings.Contains(built.Notice, "version 1.2 of python3-http was not pulled") {
		t.Errorf("got %+v", built)
	}
	dir := t.TempDir()
	write(t, dir, "template/python3-http@1.2/template.yml", "language: python3-http\n")
	pulled, err := build.FindTemplate(dir, "python3-http@1.2")
	if err != nil || pulled.BuiltIn || pulled.Name != "python3-http@1.2" {
		t.Errorf("got %+v, %v", pulled, err)
	}
}

func TestListTemplates(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "template/mine/template.yml", "language: mine\n")
	write(t, dir, "template/empty/README", "")
	all, err := build.ListTemplates(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, template := range all {
		got = append(got, template.Name)
	}
	if want := "bash-streaming dockerfile golang-middleware mine node22 python3 python3-http"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
