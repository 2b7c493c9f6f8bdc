package process

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"lofn"
)

const standardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// lookup finds programs as a function would: with the rights of its user and
// without the folders that it does not see.
type lookup struct {
	// others is set where functions run as a user who owns nothing and is in
	// no group, so that the permissions of "others" are what counts. Otherwise
	// they have the platform's own.
	others bool
	hidden []string
}

// path is the platform's PATH without the folders that a function cannot use,
// and with the standard ones.
func (l lookup) path(platform string) string {
	var dirs []string
	for _, dir := range filepath.SplitList(platform + ":" + standardPath) {
		if !filepath.IsAbs(dir) || slices.Contains(dirs, dir) {
			continue
		}
		if info, err := os.Stat(dir); err == nil && info.IsDir() && l.reachable(dir) {
			dirs = append(dirs, dir)
		}
	}
	return strings.Join(dirs, ":")
}

// reachable reports whether a file or folder can be executed or searched, with
// all folders above it.
func (l lookup) reachable(name string) bool {
	real, err := filepath.EvalSymlinks(name)
	if err != nil || !l.visible(name) || !l.visible(real) {
		return false
	}
	if !l.others {
		return unix.Access(real, unix.X_OK) == nil
	}
	for _, path := range []string{name, real} {
		for ; ; path = filepath.Dir(path) {
			info, err := os.Stat(path)
			if err != nil || info.Mode()&0o001 == 0 {
				return false
			}
			if path == "/" {
				break
			}
		}
	}
	return true
}

func (l lookup) visible(name string) bool {
	return !slices.ContainsFunc(l.hidden, func(dir string) bool {
		return name == dir || strings.HasPrefix(name, dir+"/")
	})
}

// find returns what to execute for the first word of the program's command
// line, as a path in the function's view.
func (l lookup) find(p *program, path string) (string, error) {
	name := p.watchdog.Process[0]
	if strings.Contains(name, "/") {
		return name, l.usable(p, name)
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if filepath.IsAbs(dir) && l.usable(p, file) == nil {
			return file, nil
		}
	}
	return "", lofn.Errorf(lofn.Invalid, "cannot run %s: there is no program %q in the function's PATH (%s): %s", p, name, path, remedy(name))
}

// usable reports why a file cannot be executed, if so.
func (l lookup) usable(p *program, name string) error {
	file := p.onMachine(name)
	info, err := os.Stat(file)
	switch {
	case err != nil && file != name:
		return lofn.Errorf(lofn.Invalid, "cannot run %s: the image has no file %s", p, name)
	case err != nil:
		return lofn.Errorf(lofn.Invalid, "cannot run %s: there is no file %s on this machine", p, name)
	case info.IsDir():
		return lofn.Errorf(lofn.Invalid, "cannot run %s: %s is a folder", p, name)
	case info.Mode()&0o111 == 0 || l.others && info.Mode()&0o001 == 0:
		return lofn.Errorf(lofn.Invalid, "cannot run %s: %s is not executable for everybody: chmod 755 it", p, name)
	case file == name && !l.reachable(file):
		return lofn.Errorf(lofn.Invalid, "cannot run %s: functions may not reach %s on this machine", p, name)
	}
	return nil
}

// remedy says what to do about a program that is not there.
func remedy(program string) string {
	packages := map[string]string{
		"python": "python3", "python3": "python3", "node": "nodejs", "bash": "bash", "ruby": "ruby", "perl": "perl",
		"php": "php-cli", "java": "default-jre-headless", "Rscript": "r-base-core", "deno": "deno", "bun": "bun",
	}
	if name, ok := packages[program]; ok {
		return fmt.Sprintf("install %s where all users can run it (on Debian: apt install %s)", program, name)
	}
	return fmt.Sprintf("install %s where all users can run it, or put it into the image", program)
}
