package build_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lofn"
	"lofn/internal/build"
)

// repository makes a git repository with two templates, a tag v1 at the first
// commit, and a branch next.
func repository(t *testing.T) (dir, first string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git on this machine")
	}
	dir = t.TempDir()
	git(t, dir, "init", "--quiet", "--initial-branch=main")
	write(t, dir, "template/one/template.yml", "language: one\n")
	write(t, dir, "template/one/version", "1")
	write(t, dir, "template/two/template.yml", "language: two\n")
	write(t, dir, "template/README", "")
	commit(t, dir)
	git(t, dir, "tag", "v1")
	first = git(t, dir, "rev-parse", "HEAD")
	git(t, dir, "checkout", "--quiet", "-b", "next")
	write(t, dir, "template/one/version", "next")
	commit(t, dir)
	git(t, dir, "checkout", "--quiet", "main")
	write(t, dir, "template/one/version", "2")
	commit(t, dir)
	return dir, first
}

func commit(t *testing.T, dir string) {
	t.Helper()
	git(t, dir, "add", ".")
	git(t, dir, "commit", "--quiet", "--no-gpg-sign", "--message", "a change")
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=Test", "-c", "user.email=test@example.com"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestPull(t *testing.T) {
	repo, first := repository(t)
	for ref, want := range map[string]string{"": "2", "#v1": "1", "#next": "next", "#sha-" + first: "1", "#sha-" + first[:8]: "1"} {
		for _, url := range []string{repo, "file://" + repo} {
			dir := t.TempDir()
			names, err := build.Pull(context.Background(), build.PullRequest{URL: url + ref, Dir: dir})
			if err != nil {
				t.Fatalf("%s: %v", url+ref, err)
			}
			if !slices.Equal(names, []string{"one", "two"}) {
				t.Errorf("%s: pulled %v", url+ref, names)
			}
			if got := read(t, dir, "template/one/version"); got != want {
				t.Errorf("%s: version %q, want %q", url+ref, got, want)
			}
			var meta struct {
				Repository string `json:"repository"`
				RefName    string `json:"ref_name"`
				SHA        string `json:"sha"`
				WrittenAt  string `json:"written_at"`
			}
			if err := json.Unmarshal([]byte(read(t, dir, "template/one/meta.json")), &meta); err != nil {
				t.Fatal(err)
			}
			if meta.Repository != url || "#"+meta.RefName != ref && ref != "" || len(meta.SHA) != 40 || meta.WrittenAt == "" {
				t.Errorf("%s: meta.json has %+v", url+ref, meta)
			}
			if entries, _ := os.ReadDir(filepath.Join(dir, "template")); len(entries) != 2 {
				t.Errorf("left behind: %v", entries)
			}
		}
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPullReplacesOrKeeps(t *testing.T) {
	repo, _ := repository(t)
	dir := t.TempDir()
	write(t, dir, "template/one/version", "mine")
	write(t, dir, "template/one/extra", "")
	names, err := build.Pull(context.Background(), build.PullRequest{URL: repo, Dir: dir, Keep: true})
	if err != nil || !slices.Equal(names, []string{"two"}) || read(t, dir, "template/one/version") != "mine" {
		t.Errorf("Keep: %v, %v", names, err)
	}
	names, err = build.Pull(context.Background(), build.PullRequest{URL: repo, Dir: dir, Only: "one"})
	if err != nil || !slices.Equal(names, []string{"one"}) || read(t, dir, "template/one/version") != "2" || isThere(dir, "template/one/extra") {
		t.Errorf("replace: %v, %v", names, err)
	}
	names, err = build.Pull(context.Background(), build.PullRequest{URL: repo, Dir: dir, Only: "one@v1"})
	if err != nil || !slices.Equal(names, []string{"one@v1"}) || read(t, dir, "template/one@v1/version") != "1" {
		t.Errorf("one version: %v, %v", names, err)
	}
}

func TestPullFromAPlainFolder(t *testing.T) {
	from, dir := t.TempDir(), t.TempDir()
	write(t, from, "template/one/template.yml", "language: one\n")
	names, err := build.Pull(context.Background(), build.PullRequest{URL: from, Dir: dir})
	if err != nil || !slices.Equal(names, []string{"one"}) {
		t.Errorf("got %v, %v", names, err)
	}
}

func TestPullErrors(t *testing.T) {
	repo, _ := repository(t)
	empty := t.TempDir()
	git(t, empty, "init", "--quiet")
	write(t, empty, "README", "")
	commit(t, empty)
	for name, c := range map[string]struct {
		req  build.PullRequest
		want string
	}{
		"only a ref":   {build.PullRequest{URL: "#v1"}, "name a git repository"},
		"no such":      {build.PullRequest{URL: filepath.Join(empty, "gone")}, "template pull " + filepath.Join(empty, "gone")},
		"no such ref":  {build.PullRequest{URL: repo + "#v9"}, "v9"},
		"no commit":    {build.PullRequest{URL: repo + "#sha-zzz"}, `"zzz" is not a commit`},
		"an option":    {build.PullRequest{URL: "--upload-pack=touch x"}, "template pull --upload-pack"},
		"no templates": {build.PullRequest{URL: empty}, "has no folder template/"},
		"only another": {build.PullRequest{URL: repo, Only: "three"}, "has no template three: it has one, two"},
	} {
		c.req.Dir = t.TempDir()
		if _, err := build.Pull(context.Background(), c.req); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if entries, _ := os.ReadDir(filepath.Join(c.req.Dir, "template")); len(entries) > 0 {
			t.Errorf("%s: left behind %v", name, entries)
		}
	}
}

func TestTag(t *testing.T) {
	repo, first := repository(t)
	git(t, repo, "checkout", "--quiet", "-b", "feature/x", "v1")
	short := git(t, repo, "rev-parse", "--short", first)
	write(t, repo, "fn/handler.sh", "a")
	digest := tag(t, "digest", "fn:v2", repo, "fn")
	for _, c := range []struct{ mode, image, want string }{
		{"", "fn", "fn:latest"},
		{"latest", "prefix/fn:v2", "prefix/fn:v2"},
		{"sha", "fn", "fn:latest-" + short},
		{"sha", "host:5000/fn", "host:5000/fn:latest-" + short},
		{"branch", "fn:v2", "fn:v2-feature-x-" + short},
		{"describe", "fn:v2", "fn:v2-v1"},
		{"digest", "host:5000/fn", "host:5000/" + digest},
		{"sha", "fn@sha256:" + strings.Repeat("a", 64), "fn@sha256:" + strings.Repeat("a", 64)},
	} {
		if got := tag(t, c.mode, c.image, repo, "fn"); got != c.want {
			t.Errorf("%s of %s: %s, want %s", c.mode, c.image, got, c.want)
		}
	}
	if _, sum, _ := strings.Cut(digest, ":"); len(sum) != 32 {
		t.Errorf("digest %s", digest)
	}
	write(t, repo, "fn/handler.sh", "b")
	if tag(t, "digest", "fn:v2", repo, "fn") == digest {
		t.Error("a change of the handler goes unnoticed")
	}
}

func tag(t *testing.T, mode, image, dir, handler string) string {
	t.Helper()
	got, err := build.Tag(context.Background(), mode, image, dir, handler)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestTagErrors(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(dir))
	for _, c := range []struct{ mode, image, want string }{
		{"shaa", "fn", `--tag: "shaa" is not known: use one of latest, sha`},
		{"", "Fn", `image: "Fn:latest" is not an image name`},
		{"", "", "is not an image name"},
		{"", "fn:a b", "is not an image name"},
		{"sha", "fn", "git rev-parse: fatal: not a git repository"},
		{"digest", "fn", "--tag digest: handler"},
	} {
		if _, err := build.Tag(context.Background(), c.mode, c.image, dir, "gone"); err == nil || lofn.CodeOf(err) != lofn.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s of %q: got %v, want %q", c.mode, c.image, err, c.want)
		}
	}
}

const storeJSON = `[
	{"template": "go", "platform": "x86_64", "language": "Go", "source": "openfaas", "description": "d", "repo": "https://example.com/a", "official": "true", "recommended": true},
	{"template": "go", "source": "somebody", "repo": "https://example.com/b", "official": "false"},
	{"template": "lua", "source": "one", "repo": "https://example.com/c", "official": "false"},
	{"template": "lua", "source": "two", "repo": "https://example.com/d", "official": "false"}
]`

func TestTemplateStore(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/templates.json" {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte(storeJSON))
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	write(t, dir, "templates.json", storeJSON)
	file := filepath.Join(dir, "templates.json")
	for _, location := range []string{server.URL + "/templates.json", file, "file://" + file} {
		all, err := build.TemplateStore(context.Background(), location)
		if err != nil || len(all) != 4 || !all[0].Recommended || all[0].Repository != "https://example.com/a" {
			t.Errorf("%s: %+v, %v", location, all, err)
		}
	}
	write(t, dir, "bad.json", "{}")
	for _, location := range []string{server.URL + "/gone", filepath.Join(dir, "gone"), filepath.Join(dir, "bad.json"), "http://127.0.0.1:1/"} {
		if _, err := build.TemplateStore(context.Background(), location); err == nil {
			t.Errorf("%s: no error", location)
		}
	}
}

func TestFindStoreTemplate(t *testing.T) {
	var all []build.StoreTemplate
	if err := json.Unmarshal([]byte(storeJSON), &all); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"go": "https://example.com/a", "somebody/go": "https://example.com/b", "two/lua": "https://example.com/d"} {
		if got, err := build.FindStoreTemplate(all, name); err != nil || got.Repository != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := build.FindStoreTemplate(all, "lua"); err == nil || !strings.Contains(err.Error(), "choose one of one/lua, two/lua") {
		t.Errorf("got %v", err)
	}
	if _, err := build.FindStoreTemplate(all, "cobol"); lofn.CodeOf(err) != lofn.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestNewFunction(t *testing.T) {
	for _, lang := range allTemplates() {
		t.Run(lang, func(t *testing.T) {
			needs(t, lang)
			dir := t.TempDir()
			made, err := build.NewFunction(build.ScaffoldRequest{Name: "fn", Lang: lang, Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if made.Lang != lang || made.Handler != "./fn" || made.WelcomeMessage == "" || len(made.Files) == 0 {
				t.Errorf("made %+v", made)
			}
			if got := read(t, dir, ".gitignore"); got != "template\nbuild\n.secrets\n" {
				t.Errorf(".gitignore has %q", got)
			}
			mustBuild(t, build.Request{Name: "fn", Lang: made.Lang, Handler: made.Handler, Dir: dir, Images: openImages(t)})
		})
	}
}

func TestNewFunctionKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "fn/mine.txt", "mine")
	write(t, dir, "file", "")
	write(t, dir, ".gitignore", "*.log\n/build/")
	for _, handler := range []string{"fn", "file"} {
		if _, err := build.NewFunction(build.ScaffoldRequest{Name: "fn", Lang: "python", Handler: handler, Dir: dir}); lofn.CodeOf(err) != lofn.Exists {
			t.Errorf("%s: got %v", handler, err)
		}
	}
	if isThere(dir, "fn/handler.py") || read(t, dir, ".gitignore") != "*.log\n/build/" {
		t.Error("a refusal changed something")
	}
	made, err := build.NewFunction(build.ScaffoldRequest{Name: "other", Lang: "python", Handler: "deep/down", Dir: dir})
	if err != nil || made.Handler != "./deep/down" || made.Lang != "python3-http" || !isThere(dir, "deep/down/handler.py") {
		t.Errorf("got %+v, %v", made, err)
	}
	if got := read(t, dir, ".gitignore"); got != "*.log\n/build/\ntemplate\n.secrets\n" {
		t.Errorf(".gitignore has %q", got)
	}
	if _, err := build.NewFunction(build.ScaffoldRequest{Name: "Other", Lang: "python", Dir: dir}); lofn.CodeOf(err) != lofn.Invalid {
		t.Errorf("got %v", err)
	}
}

func TestNewFunctionInAnEmptyFolder(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "fn"), 0o700); err != nil {
		t.Fatal(err)
	}
	link(t, elsewhere, filepath.Join(dir, "linked"))
	for _, handler := range []string{"fn", "linked"} {
		made, err := build.NewFunction(build.ScaffoldRequest{Name: "fn", Lang: "python", Handler: handler, Dir: dir})
		if err != nil || made.Handler != "./"+handler || !isThere(dir, handler+"/handler.py") {
			t.Errorf("%s: got %+v, %v", handler, made, err)
		}
	}
	if !isThere(elsewhere, "handler.py") {
		t.Error("the link was replaced")
	}
	if info, err := os.Stat(filepath.Join(dir, "fn")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder's mode is %v, %v", info.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*", ".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestPullBuiltIn writes lofn's own templates out, from which a function is
// built as from the built-in ones.
func TestPullBuiltIn(t *testing.T) {
	dir := t.TempDir()
	names, err := build.Pull(t.Context(), build.PullRequest{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"python3-http", "python", "golang-middleware", "go", "bash-streaming"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not among %v", name, names)
		}
		if _, err := os.Stat(filepath.Join(dir, "template", name, "template.yml")); err != nil {
			t.Error(err)
		}
	}
	pulled, err := build.FindTemplate(dir, "python")
	if err != nil {
		t.Fatal(err)
	}
	if pulled.BuiltIn || pulled.Dockerfile {
		t.Errorf("found %+v, want the folder, with its recipe", pulled)
	}
}
