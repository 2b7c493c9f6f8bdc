//go:build !linux

package main

import (
	"errors"
)

// apart says why inside is not called.
func apart(func() int) (status int, missing string) { return 0, "containers need Linux" }

func isApart() bool { return false }

// ownContainerd is a containerd of the benchmark's own.
type ownContainerd struct{ Socket string }

func startContainerd(string) (*ownContainerd, error) { return nil, errors.ErrUnsupported }

func (*ownContainerd) Stop() {}

func (*ownContainerd) Pid() int { return 0 }

// cgroupParent is for the control groups of what is started for comparison.
func cgroupParent() string { return "" }

// netns is a network of its own.
type netns struct{ path string }

func newNetns(string) (*netns, error) { return nil, errors.ErrUnsupported }

func (*netns) within(func() error) error { return errors.ErrUnsupported }

func (*netns) remove() {}
