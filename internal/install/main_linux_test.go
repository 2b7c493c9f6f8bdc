package install_test

import (
	"os"
	"testing"

	"lofn/internal/provider/containerd/containerdtest"
)

func TestMain(m *testing.M) { os.Exit(containerdtest.Main(m)) }
