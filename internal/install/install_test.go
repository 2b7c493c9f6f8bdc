package install_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lofn/internal/install"
)

// options are for an installation of this test binary into a folder.
func options(t *testing.T) install.Options {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return install.Options{
		Place: install.Place{Root: t.TempDir(), Prefix: "/usr"}, Program: program,
		Settings: []install.Setting{{Name: "LOFN_DATA", Usage: "data", Default: install.DefaultData}},
		Service:  install.Service{Listen: "127.0.0.1:8080", MetricsListen: "127.0.0.1:8082", Data: install.DefaultData},
	}
}

func run(t *testing.T, o install.Options) error {
	t.Helper()
	plan, err := install.NewInstall(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Close()
	return plan.Run(t.Context(), func(string) {})
}

func TestUnitFollowsTheSettings(t *testing.T) {
	o := options(t)
	o.Service.Containerd, o.Service.Data = install.ContainerdSocket, `/srv/a "b" 100%`
	if err := run(t, o); err != nil {
		t.Fatal(err)
	}
	unit, err := os.ReadFile(filepath.Join(o.Root, "etc/systemd/system/lofn.service"))
	for _, line := range []string{"Wants=network-online.target containerd.service", `RequiresMountsFor="/srv/a \"b\" 100%%"`} {
		if !strings.Contains(string(unit), "\n"+line+"\n") {
			t.Errorf("%v: there is no line %s in:\n%s", err, line, unit)
		}
	}
}

// The unit is the last file: what was written before it is taken back.
func TestWhatFailsIsTakenBack(t *testing.T) {
	o := options(t)
	program := filepath.Join(o.Root, "usr/bin/lofn")
	if err := run(t, o); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	o.Program = another(t, o.Program)
	for _, name := range []string{"etc/systemd/system/lofn.service", "etc/lofn/lofn.env"} {
		if err := os.Remove(filepath.Join(o.Root, name)); err != nil {
			t.Fatal(err)
		}
	}
	plan, err := install.NewInstall(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Close()
	// After the look at the machine, somebody puts a folder in the way.
	if err := os.MkdirAll(filepath.Join(o.Root, "etc/systemd/system/lofn.service/x"), 0o755); err != nil {
		t.Fatal(err)
	}
	err = plan.Run(t.Context(), func(string) {})
	if err == nil || !strings.Contains(err.Error(), "lofn.service") {
		t.Errorf("the installation ended with %v", err)
	}
	if after, err := os.Stat(program); err != nil || !os.SameFile(before, after) {
		t.Errorf("the program before is not there any more: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(o.Root, "*/*/.lofn-*")); len(left) > 0 {
		t.Errorf("there is still %v", left)
	}
	if _, err := os.Stat(filepath.Join(o.Root, "etc/lofn/lofn.env")); !os.IsNotExist(err) {
		t.Errorf("the settings were not taken back: %v", err)
	}
}

// another is a copy of a program that is not quite the same.
func another(t *testing.T, path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "lofn")
	if err := os.WriteFile(path, append(text, "another"...), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
