package build_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lofn/internal/build"
)

// gitIn runs git in a folder, as somebody.
func gitIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, output)
	}
	return strings.TrimSpace(string(output))
}

func TestSourceAndRevision(t *testing.T) {
	needs(t, "git")
	req := plainRequest(t, "scratch")
	own := req.Dir
	labels := func(result build.Result) map[string]string {
		_, config := get(t, req.Images, result.Image)
		return config.Config.Labels
	}
	if got := labels(mustBuild(t, req)); len(got) > 0 {
		t.Errorf("without git: %v", got)
	}
	gitIn(t, req.Dir, "init", "-q", "-b", "main")
	gitIn(t, req.Dir, "remote", "add", "origin", "git@example.org:team/functions.git")
	gitIn(t, req.Dir, "add", "fn")
	gitIn(t, req.Dir, "commit", "-qm", "one")
	revision := gitIn(t, req.Dir, "rev-parse", "HEAD")
	first := mustBuild(t, req)
	got := labels(first)
	if got["org.opencontainers.image.source"] != "https://example.org/team/functions" || got["org.opencontainers.image.revision"] != revision {
		t.Errorf("labels %v, want revision %s", got, revision)
	}
	// Neither another clone nor a commit that is not about the function
	// makes another image.
	write(t, req.Dir, "README", "")
	gitIn(t, req.Dir, "add", "README")
	gitIn(t, req.Dir, "commit", "-qm", "two")
	clone := filepath.Join(t.TempDir(), "clone")
	gitIn(t, req.Dir, "clone", "-q", req.Dir, clone)
	gitIn(t, clone, "remote", "set-url", "origin", "https://me:token@example.org/team/functions")
	req.Dir, req.NoCache = clone, true
	if err := os.CopyFS(filepath.Join(clone, "template"), os.DirFS(filepath.Join(own, "template"))); err != nil {
		t.Fatal(err)
	}
	if other := mustBuild(t, req); other.Digest != first.Digest {
		t.Errorf("the clone's image is %s, and not %s: %v", other.Digest, first.Digest, labels(other))
	}
	req.Dir = own
	write(t, own, "fn/more.txt", "")
	if got := labels(mustBuild(t, req)); got["org.opencontainers.image.revision"] != revision+"-dirty" {
		t.Errorf("with a change that is not committed: %v", got)
	}
	req.Labels = map[string]string{"org.opencontainers.image.revision": "mine"}
	if got := labels(mustBuild(t, req)); got["org.opencontainers.image.revision"] != "mine" {
		t.Errorf("with a label of one's own: %v", got)
	}
}
