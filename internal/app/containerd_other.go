//go:build !linux

package app

import (
	"context"

	"lofn"
)

// openContainerd is for Linux only.
func openContainerd(context.Context, *platform) (containers, error) {
	return nil, lofn.Errorf(lofn.Unimplemented, "--provider: containerd is there on Linux only: use %s", ProviderProcess)
}

// Clear removes what a platform has left on the machine outside its data, which
// only containers do.
func Clear(context.Context, Options) error { return nil }
