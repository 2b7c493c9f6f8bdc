//go:build !linux

package process

import (
	"runtime"

	"lofn"
)

func newMachine(Config) (machine, error) {
	return nil, lofn.Errorf(lofn.Unimplemented, "functions run as processes on Linux only, and this is %s: run the platform on a Linux machine, the other commands work here", runtime.GOOS)
}
