package containerdtest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"lofn/internal/provider/containerd/containerdtest"
)

func TestMain(m *testing.M) { os.Exit(containerdtest.Main(m)) }

func TestDaemonComesBackAfterAKill(t *testing.T) {
	d := containerdtest.Start(t)
	ask := func() {
		t.Helper()
		output, err := exec.Command("ctr", "--address", d.Socket, "namespaces", "ls").CombinedOutput()
		if err != nil || !strings.HasPrefix(string(output), "NAME") {
			t.Fatalf("%v: %s", err, output)
		}
	}
	ask()
	pid := d.Pid()
	d.Kill()
	d.Start()
	if d.Pid() == pid {
		t.Error("it is the same process")
	}
	ask()
}

func TestImageHoldsTheProgram(t *testing.T) {
	containerdtest.Require(t)
	image := containerdtest.Answer(t, "ANSWER=hello")
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 || len(config.RootFS.DiffIDs) != 1 {
		t.Fatalf("layers: %v, %v, %v", layers, config.RootFS.DiffIDs, err)
	}
	if size, err := layers[0].Size(); err != nil || size < 1<<20 {
		t.Errorf("the layer has %d bytes: %v", size, err)
	}
}
