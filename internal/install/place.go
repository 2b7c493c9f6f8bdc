package install

import (
	"fmt"
	"path/filepath"
	"regexp"
)

// serviceName is the unit's.
const serviceName = "lofn.service"

// Places that do not depend on choices.
const (
	unitPath     = "/etc/systemd/system/" + serviceName
	settingsPath = "/etc/lofn/lofn.env"
)

// DefaultPrefix is where programs of the machine's own administrator are.
const DefaultPrefix = "/usr/local"

// DefaultData is the service's data folder unless the settings say otherwise.
const DefaultData = "/var/lib/lofn"

// Place says where an installation is.
type Place struct {
	// Root is the folder that stands for the root of the file system, empty for
	// this machine itself. Below another root no service is started.
	Root string
	// Prefix is the folder whose bin has the program, an absolute path.
	Prefix string
}

// plainPath is a path that a unit can have without quotes.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9/._+-]*$`)

func (p Place) check() error {
	if p.Root != "" && !filepath.IsAbs(p.Root) {
		return fmt.Errorf("--root: %q is no absolute path", p.Root)
	}
	if !plainPath.MatchString(p.Prefix) {
		return fmt.Errorf("--prefix: %q is no absolute path of letters, digits and ._+-: the unit could not name a program there", p.Prefix)
	}
	return nil
}

// isMachine reports whether it is this machine that is meant.
func (p Place) isMachine() bool { return p.Root == "" }

// program is the path of the program, as the service sees it.
func (p Place) program() string { return filepath.Join(p.Prefix, "bin", "lofn") }

// under is where a path of the service is now.
func (p Place) under(path string) string {
	if p.isMachine() {
		return path
	}
	return filepath.Join(p.Root, path)
}
