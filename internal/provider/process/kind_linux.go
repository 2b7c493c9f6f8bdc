package process

import (
	"embed"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"lofn"
)

// kind is what an interpreter must have been started with to become a replica:
// what cannot be changed any more once it runs. Interpreters of one kind can
// become any of its functions.
type kind struct {
	// exec is the interpreter's file, and process its command line with the
	// program, separated by zero bytes.
	exec, process string
	// env are the function's variables that interpreters read when they start.
	env string
	// memory and cpu tell whether there are limits, so that the process starts
	// in a control group.
	memory, cpu bool
}

func (k kind) argv() []string { return strings.Split(k.process, "\x00") }

func (k kind) String() string { return strings.Join(k.argv(), " ") }

// loader is how an interpreter is told to wait.
type loader struct {
	name *regexp.Regexp
	// variable has the interpreter load the file before the program.
	variable string
	// early matches the variables that act when this interpreter starts and
	// cannot hurt then, for they name no file that only the function sees; own
	// matches those and others that act then.
	early, own *regexp.Regexp
}

// loaderDir is where the loaders are in a function's view.
const loaderDir = "/var/openfaas/standby"

//go:embed loaders
var loaderFiles embed.FS

// placeLoaders writes the loaders into a folder.
func placeLoaders(dir string) error {
	files, err := fs.Sub(loaderFiles, "loaders")
	if err != nil {
		return err
	}
	return os.CopyFS(dir, files)
}

var loaders = []loader{
	{
		name:     regexp.MustCompile(`^python3(\.\d+)?$`),
		variable: "PYTHONPATH=" + loaderDir,
		early:    regexp.MustCompile(`^(PATH|PYTHON(DONTWRITEBYTECODE|UNBUFFERED|IOENCODING|UTF8|HASHSEED))$`),
		own:      regexp.MustCompile(`^PYTHON`),
	},
	{
		name:     regexp.MustCompile(`^node(js)?$`),
		variable: "NODE_OPTIONS=--require " + loaderDir + "/preload.cjs",
		early:    regexp.MustCompile(`^NODE_NO_WARNINGS$`),
		own:      regexp.MustCompile(`^(UV_|NODE_)`),
	},
}

var (
	// early and foreign match what acts when any program of these starts.
	early   = regexp.MustCompile(`^(HOME|LANG|LANGUAGE|LC_[A-Z]+|TZ)$`)
	foreign = regexp.MustCompile(`^(LD_|GLIBC_|MALLOC_|OPENSSL_|ICU_|LOCPATH$|GCONV_PATH$|NLSPATH$|TZDIR$)`)
	// late are variables that are only named as if they acted at the start.
	late = regexp.MustCompile(`^(NODE_ENV|NODE_TLS_REJECT_UNAUTHORIZED)$`)
)

// kindOf returns the kind of interpreter that can become the program, the zero
// kind if it must be started for this replica.
func (m *linux) kindOf(p *program) kind {
	words, path := p.watchdog.Process, m.pathOf(p)
	l := loaderFor(words)
	if l == nil || p.dir != lofn.AppDir {
		return kind{}
	}
	if info, err := os.Stat(p.files()); err != nil || !info.IsDir() {
		return kind{}
	}
	exec, err := m.lookup.find(p, path)
	if err != nil || !filepath.IsAbs(exec) || p.onMachine(exec) != exec {
		return kind{}
	}
	env, ok := l.starting(p.with(map[string]string{"PATH": path}))
	if !ok {
		return kind{}
	}
	return kind{exec: exec, process: strings.Join(words, "\x00"), env: env, memory: p.memory > 0, cpu: p.milliCPU > 0}
}

// loaderFor returns nil if the words are not an interpreter and a program,
// with no option for the interpreter between them.
func loaderFor(words []string) *loader {
	if len(words) < 2 || words[1] == "" || strings.HasPrefix(words[1], "-") {
		return nil
	}
	i := slices.IndexFunc(loaders, func(l loader) bool { return l.name.MatchString(filepath.Base(words[0])) })
	if i < 0 {
		return nil
	}
	return &loaders[i]
}

// starting returns the variables that the interpreter is to be started with;
// false if there are some that nobody else could be started with.
func (l *loader) starting(env []string) (text string, ok bool) {
	var chosen []string
	for _, pair := range env {
		name, _, _ := strings.Cut(pair, "=")
		switch {
		case early.MatchString(name), l.early.MatchString(name):
			chosen = append(chosen, pair)
		case late.MatchString(name):
		case foreign.MatchString(name), l.own.MatchString(name):
			return "", false
		}
		// Node would read other bytes differently from a message than from its
		// own environment.
		if !utf8.ValidString(pair) {
			return "", false
		}
	}
	return strings.Join(append(chosen, l.variable), "\x00"), true
}
