// Package containerdtest runs tests against a real containerd of their own. A
// package that uses it has
//
//	func TestMain(m *testing.M) { os.Exit(containerdtest.Main(m)) }
//
// and its tests run in mount, network and process namespaces of their own, so
// that bridges, routes and mounts are theirs, and end with them. What they leave
// behind makes Main fail all the same: see package sandbox.
package containerdtest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lofn/internal/provider/containerd/containerdtest/sandbox"
)

// Main runs the tests of a package and returns what to exit with. Where there
// can be no containers the tests run as they are: Require skips those that need
// some.
func Main(m *testing.M) int {
	if Missing() != "" {
		return m.Run()
	}
	return sandbox.Run(m.Run)
}

// Missing says what keeps tests from having a containerd, or is empty.
func Missing() string { return sandbox.Missing() }

// Require skips a test where there can be no containerd.
func Require(t testing.TB) {
	t.Helper()
	if missing := Missing(); missing != "" {
		t.Skip("SKIPPED: " + missing)
	}
}

// CgroupParent is where the control groups of tests are to be. Several packages
// are tested at once, each with a parent of its own.
func CgroupParent() string { return sandbox.CgroupParent() }

// ReadCgroup returns what a file of a control group says: of the group's own
// hierarchy where there is one for the controller, else of the only one.
func ReadCgroup(t testing.TB, controller, group, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", controller, group, file))
	if errors.Is(err, fs.ErrNotExist) {
		text, err = os.ReadFile(filepath.Join("/sys/fs/cgroup", group, file))
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
