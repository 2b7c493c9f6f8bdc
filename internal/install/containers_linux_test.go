package install_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"lofn/internal/install"
	"lofn/internal/provider/containerd/containerdtest"
)

func TestContainersNeedAContainerd(t *testing.T) {
	containerdtest.Require(t)
	daemon := containerdtest.Start(t)
	if err := errors.Join(install.CheckContainers(t.Context(), daemon.Socket)...); err != nil {
		t.Errorf("with all that is needed: %v", err)
	}
	daemon.Kill()
	err := errors.Join(install.CheckContainers(t.Context(), daemon.Socket)...)
	if err == nil || !strings.Contains(err.Error(), "containerd does not listen at "+daemon.Socket) || !strings.Contains(err.Error(), "systemctl enable --now containerd") {
		t.Errorf("without a containerd that runs: %v", err)
	}
}

func TestContainersOnABareMachine(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := errors.Join(install.CheckContainers(t.Context(), filepath.Join(t.TempDir(), "none.sock"))...)
	for _, want := range []string{"apt install containerd", "apt install runc"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestContainerdVersions(t *testing.T) {
	answer := func(version string) string {
		return "Client:\n  Version:  1.2.3\n  Revision: x\n\nServer:\n  Version:  " + version + "\n  Revision: abc\n  UUID: 1\n"
	}
	for version, good := range map[string]bool{"1.6.20~ds1": true, "v1.7.13": true, "2.1.0": true, "1.10.0": true, "1.5.9": false, "0.9.1": false, "unknown": false} {
		err := install.CheckVersion(answer(version))
		if (err == nil) != good {
			t.Errorf("%s: %v", version, err)
		}
		if !good && version != "unknown" && !strings.Contains(err.Error(), version) {
			t.Errorf("%s is not named: %v", version, err)
		}
	}
}
