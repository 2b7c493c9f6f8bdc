package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"lofn"
)

// runner runs the steps of a recipe in a build folder.
type runner struct {
	function string
	template *Template
	folder   string
	env      map[string]string
	log      *logger
}

// environment returns what the steps of t see besides this process's own:
// the recipe's values, then the platform, then the build arguments.
func (req *Request) environment(t *Template, platform string, packages []string) map[string]string {
	env := maps.Clone(t.recipe.Env)
	if env == nil {
		env = map[string]string{}
	}
	goos, arch, _ := strings.Cut(platform, "/")
	env["TARGETPLATFORM"], env["TARGETOS"], env["TARGETARCH"] = platform, goos, arch
	env["ADDITIONAL_PACKAGE"] = strings.Join(packages, " ")
	maps.Copy(env, req.Args)
	return env
}

// run runs a step, whether or not its condition holds.
func (r *runner) run(ctx context.Context, s step) error {
	for _, need := range s.Needs {
		if err := r.check(ctx, need); err != nil {
			return err
		}
	}
	r.log.line(s.Name + ": " + strings.Join(s.Run, " "))
	cmd := exec.CommandContext(ctx, s.Run[0], s.Run[1:]...)
	cmd.Dir = filepath.Join(r.folder, s.Dir)
	cmd.Env = r.commandEnv(s)
	return r.log.run(ctx, cmd, s.Slow, func(err error, output *lineWriter) error { return r.failed(s, err, output) })
}

// run runs a tool, whose output goes to the log, and says why if it takes long.
// What failed says of its failure is returned.
func (l *logger) run(ctx context.Context, cmd *exec.Cmd, slow string, failed func(error, *lineWriter) error) error {
	output := &lineWriter{log: l}
	cmd.Stdout, cmd.Stderr = output, output
	// The tools start others: all of them end when the build is cancelled.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	stop := l.stillAtIt(slow)
	err := cmd.Run()
	stop()
	output.flush()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return failed(err, output)
	}
	return nil
}

func (r *runner) failed(s step, err error, output *lineWriter) error {
	return lofn.Errorf(lofn.Invalid, "function %q: step %q failed: %w%s", r.function, s.Name, err, advice(r.template.recipe.Hints, output, r.log))
}

// advice is what else to say of a tool that failed, in lines of its own.
func advice(hints []hint, output *lineWriter, log *logger) string {
	var text string
	for _, h := range hints {
		if strings.Contains(output.tail(), h.Match) {
			text = "\n" + h.Say
		}
	}
	// Who has no log has not seen what the tool said.
	if !log.shown() && output.tail() != "" {
		text = "\n" + output.tail() + text
	}
	return text
}

func (r *runner) commandEnv(s step) []string {
	env := os.Environ()
	for _, name := range slices.Sorted(maps.Keys(r.env)) {
		env = append(env, name+"="+r.env[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		env = append(env, name+"="+os.Expand(s.Env[name], r.variable))
	}
	// A tool that trusts $PWD would otherwise name paths by it.
	return append(env, "PWD="+filepath.Join(r.folder, s.Dir))
}

func (r *runner) variable(name string) string {
	if v, ok := r.env[name]; ok {
		return v
	}
	return os.Getenv(name)
}

var versionPattern = regexp.MustCompile(`\d+(\.\d+)+`)

// check reports how to get a tool that is missing or too old.
func (r *runner) check(ctx context.Context, t tool) error {
	if t.Version == "" && t.Probe == nil {
		if _, err := exec.LookPath(t.Program); err != nil {
			return r.missing(t, "")
		}
		return nil
	}
	_, err := r.version(ctx, t)
	return err
}

func (r *runner) missing(t tool, found string) error {
	wanted := t.Program
	if len(t.Probe) > 1 {
		wanted += " with " + strings.Join(t.Probe[:len(t.Probe)-1], " ")
	}
	if t.Version != "" {
		wanted += " (" + t.Version + " or newer)"
	}
	return lofn.Errorf(lofn.Unavailable, "function %q (template %s) needs %s to build%s: install it with: %s", r.function, r.template.Name, wanted, found, t.Install)
}

// version asks a tool for its version. The error is that of check.
func (r *runner) version(ctx context.Context, t tool) (string, error) {
	probe := t.Probe
	if probe == nil {
		probe = []string{"--version"}
	}
	output, err := exec.CommandContext(ctx, t.Program, probe...).CombinedOutput()
	if err != nil {
		return "", r.missing(t, "")
	}
	found := versionPattern.FindString(string(output))
	if t.Version != "" && olderVersion(found, t.Version) {
		return "", r.missing(t, ", and this machine has "+found)
	}
	return found, nil
}

// olderVersion compares versions of numbers and dots.
func olderVersion(a, b string) bool {
	return slices.Compare(numbers(a), numbers(b)) < 0
}

func numbers(version string) []int {
	var all []int
	for part := range strings.SplitSeq(version, ".") {
		var n int
		if _, err := fmt.Sscanf(part, "%d", &n); err != nil {
			break
		}
		all = append(all, n)
	}
	return all
}

// holds reports whether a step is to run, by what is in the build folder.
func (r *runner) holds(c condition) (bool, error) {
	for _, name := range c.Args {
		if r.variable(name) == "" {
			return false, nil
		}
	}
	for _, pair := range c.Unless {
		if name, value, _ := strings.Cut(pair, "="); r.variable(name) == value {
			return false, nil
		}
	}
	if c.Missing != "" && r.exists(c.Missing) {
		return false, nil
	}
	if c.Lists != "" && !r.lists(c.Lists) {
		return false, nil
	}
	if c.Finds != nil && !r.finds(*c.Finds) {
		return false, nil
	}
	if c.JSON != nil {
		if ok, err := r.hasKeys(*c.JSON); !ok || err != nil {
			return false, err
		}
	}
	if c.Without != nil {
		if ok, err := r.hasKeys(*c.Without); ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (r *runner) exists(name string) bool {
	_, err := os.Stat(filepath.Join(r.folder, name))
	return err == nil
}

func (r *runner) lists(name string) bool {
	data, err := os.ReadFile(filepath.Join(r.folder, name))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return true
		}
	}
	return false
}

func (r *runner) finds(f finds) bool {
	found := false
	err := filepath.WalkDir(filepath.Join(r.folder, f.In), func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ok, _ := path.Match(f.Name, d.Name()); ok && !d.IsDir() {
			found = true
			return fs.SkipAll
		}
		return nil
	})
	return found && err == nil
}

func (r *runner) hasKeys(j jsonKeys) (bool, error) {
	data, err := os.ReadFile(filepath.Join(r.folder, j.File))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, lofn.Errorf(lofn.Invalid, "function %q: %w", r.function, err)
	}
	var root any
	if err := json.Unmarshal(data, &root); err != nil {
		return false, lofn.Errorf(lofn.Invalid, "function %q: %s is not JSON: %w", r.function, path.Base(j.File), err)
	}
	for _, key := range j.Keys {
		if !holdsSomething(root, strings.Split(key, ".")) {
			return false, nil
		}
	}
	return true, nil
}

func holdsSomething(v any, keys []string) bool {
	for _, key := range keys {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	switch v := v.(type) {
	case nil:
		return false
	case map[string]any:
		return len(v) > 0
	case []any:
		return len(v) > 0
	case string:
		return v != ""
	}
	return true
}

// inputs digests all that the outputs of a kept step depend on.
func (r *runner) inputs(s step, all sources) (string, error) {
	files, err := all.digest(func(p string) bool {
		return slices.ContainsFunc(s.Keep.Inputs, func(pattern string) bool {
			matched, _ := path.Match(pattern, p)
			return matched
		})
	})
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %v\n", files, s.Run, s.Env, r.env)
	fmt.Fprintf(h, "%s\n", toolIdentity(s.Run[0]))
	for _, name := range toolVariables() {
		fmt.Fprintf(h, "%s\n", name)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// toolIdentity tells one installation of a program from another, at the price
// of a look at its file and not of a run.
func toolIdentity(program string) string {
	file, err := exec.LookPath(program)
	if err != nil {
		return program + " missing"
	}
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	info, err := os.Stat(file)
	if err != nil {
		return file
	}
	return fmt.Sprintf("%s %d %d", file, info.Size(), info.ModTime().UnixNano())
}

// toolVariables returns the settings of this process's environment that
// change what the usual tools make.
func toolVariables() []string {
	var all []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(strings.ToUpper(pair), "=")
		for _, prefix := range []string{"GO", "CGO_", "PIP_", "PYTHON", "PYENV_VERSION", "NPM_", "NODE_"} {
			if strings.HasPrefix(name, prefix) {
				all = append(all, pair)
			}
		}
	}
	slices.Sort(all)
	return all
}
