package build

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"lofn"
)

// metaFile is what a pull leaves in each template, in faas-cli's format.
const metaFile = "meta.json"

type meta struct {
	Repository string    `json:"repository"`
	RefName    string    `json:"ref_name,omitempty"`
	SHA        string    `json:"sha,omitempty"`
	WrittenAt  time.Time `json:"written_at"`
}

// PullRequest describes where templates come from.
type PullRequest struct {
	// URL is a git repository, by URL or path, or a plain folder, with a
	// template/ folder inside. A "#ref" at its end names a branch, a tag or,
	// as "#sha-…", a commit. Empty means the built-in templates, which are
	// written under each of their names: faas-cli wants to see the template
	// of every function that it deploys.
	URL string
	// Dir is the working folder, whose template/ is filled; the default is
	// the current folder.
	Dir string
	// Only, if not empty, is the one template that is wanted. As "name@ref" it
	// names a branch, tag or commit too, and is kept under that name.
	Only string
	// Keep leaves templates alone that are there already.
	Keep bool
	// Log, if not nil, gets a line for each template.
	Log io.Writer
}

// Pull copies templates into Dir/template with the git program, and returns
// the names of those that it wrote. A template that was there is replaced as a
// whole.
func Pull(ctx context.Context, req PullRequest) ([]string, error) {
	location, ref, _ := strings.Cut(req.URL, "#")
	if only, version, ok := strings.Cut(req.Only, "@"); ok && only != "" {
		ref = version
	}
	parent := filepath.Join(req.Dir, templateFolder)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "template pull: %w", err)
	}
	work, err := os.MkdirTemp(parent, ".pull-")
	if err != nil {
		return nil, lofn.Errorf(lofn.Invalid, "template pull: %w", err)
	}
	defer os.RemoveAll(work)
	p := puller{req: req, work: work, parent: parent, log: &logger{to: req.Log},
		meta: meta{Repository: location, RefName: ref, WrittenAt: time.Now().UTC().Truncate(time.Second)}}
	if req.URL == "" {
		p.meta.Repository = "built in"
		p.found, err = builtInFolders()
	} else {
		p.found, p.meta.SHA, err = req.fetch(ctx, location, ref, filepath.Join(work, "repository"))
	}
	if err != nil {
		return nil, err
	}
	return p.copyAll()
}

// builtInFolders returns the built-in templates by each of their names.
func builtInFolders() (map[string]fs.FS, error) {
	found := make(map[string]fs.FS)
	for _, name := range builtInNames() {
		t, err := builtIn(name)
		if err != nil {
			return nil, err
		}
		for _, as := range append(t.Aliases, t.Name) {
			found[as] = t.files
		}
	}
	return found, nil
}

// fetch returns the repository's templates by name, and its commit.
func (req PullRequest) fetch(ctx context.Context, location, ref, into string) (found map[string]fs.FS, sha string, err error) {
	if location == "" {
		return nil, "", lofn.Errorf(lofn.Invalid, "template pull: name a git repository")
	}
	plain := filepath.Join(req.Dir, location)
	if filepath.IsAbs(location) {
		plain = location
	}
	if ref == "" && isPlainFolder(plain) {
		found, err = templatesIn(plain)
		return found, "", err
	}
	if err := clone(ctx, req.Dir, location, ref, into); err != nil {
		return nil, "", lofn.Errorf(lofn.Invalid, "template pull %s: %w", location, err)
	}
	if sha, err = git(ctx, into, "rev-parse", "HEAD"); err != nil {
		return nil, "", err
	}
	if found, err = templatesIn(into); err != nil {
		err = lofn.Errorf(lofn.NotFound, "template pull: %s has no folder template/ with templates in it", location)
	}
	return found, sha, err
}

// templatesIn returns the templates of a folder, by name.
func templatesIn(folder string) (map[string]fs.FS, error) {
	parent := filepath.Join(folder, templateFolder)
	names, err := foldersIn(parent)
	if err != nil || len(names) == 0 {
		return nil, lofn.Errorf(lofn.NotFound, "template pull: %s has no templates in it", parent)
	}
	found := make(map[string]fs.FS)
	for _, name := range names {
		found[name] = os.DirFS(filepath.Join(parent, name))
	}
	return found, nil
}

// isPlainFolder reports whether a path is a folder with templates that git
// knows nothing about.
func isPlainFolder(p string) bool {
	info, err := os.Stat(filepath.Join(p, templateFolder))
	if err != nil || !info.IsDir() {
		return false
	}
	_, err = os.Stat(filepath.Join(p, ".git"))
	return errors.Is(err, fs.ErrNotExist)
}

var commitPattern = regexp.MustCompile(`^[0-9a-fA-F]{4,64}$`)

func clone(ctx context.Context, dir, location, ref, into string) error {
	into, err := filepath.Abs(into)
	if err != nil {
		return err
	}
	// Without a terminal prompt: a private repository is an error, not a wait.
	base := []string{"-c", "advice.detachedHead=false", "-c", "core.askPass=true", "clone", "--quiet"}
	commit, isCommit := strings.CutPrefix(ref, "sha-")
	switch {
	case isCommit && !commitPattern.MatchString(commit):
		return lofn.Errorf(lofn.Invalid, "%q is not a commit", commit)
	case isCommit:
		if _, err := git(ctx, dir, append(base, "--no-checkout", "--", location, into)...); err != nil {
			return err
		}
		_, err = git(ctx, into, "checkout", "--quiet", "--detach", commit)
		return err
	case ref != "":
		base = append(base, "--branch="+ref)
	}
	_, err = git(ctx, dir, append(base, "--depth=1", "--", location, into)...)
	return err
}

// puller copies the templates that were found to where they belong.
type puller struct {
	req          PullRequest
	found        map[string]fs.FS
	work, parent string
	meta         meta
	log          *logger
}

func (p *puller) copyAll() ([]string, error) {
	wanted, _, _ := strings.Cut(p.req.Only, "@")
	found := slices.Sorted(maps.Keys(p.found))
	if wanted != "" && p.found[wanted] == nil {
		return nil, lofn.Errorf(lofn.NotFound, "template pull: %s has no template %s: it has %s", p.meta.Repository, wanted, strings.Join(found, ", "))
	}
	var written []string
	for _, name := range found {
		if wanted != "" && name != wanted {
			continue
		}
		as := name
		if wanted != "" {
			as = p.req.Only
		}
		ok, err := p.copy(name, as)
		if err != nil {
			return written, lofn.Errorf(lofn.Invalid, "template pull: %s: %w", name, err)
		}
		if ok {
			written = append(written, as)
		}
	}
	return written, nil
}

func (p *puller) copy(name, as string) (bool, error) {
	if !filepath.IsLocal(as) || strings.ContainsAny(as, `/\`) {
		return false, lofn.Errorf(lofn.Invalid, "%q cannot be the name of a folder", as)
	}
	to := filepath.Join(p.parent, as)
	if _, err := os.Stat(to); err == nil && p.req.Keep {
		p.log.line(as + " is there already and stays as it is")
		return false, nil
	}
	fresh := filepath.Join(p.work, "new")
	if err := os.CopyFS(fresh, p.found[name]); err != nil {
		return false, err
	}
	note, err := json.MarshalIndent(p.meta, "", "  ")
	if err != nil {
		return false, err
	}
	if err := writeFile(filepath.Join(fresh, metaFile), append(note, '\n')); err != nil {
		return false, err
	}
	if err := os.RemoveAll(to); err != nil {
		return false, err
	}
	if err := os.Rename(fresh, to); err != nil {
		return false, err
	}
	p.log.line(as + " pulled")
	return true, nil
}

func foldersIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var all []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			all = append(all, e.Name())
		}
	}
	return all, err
}
