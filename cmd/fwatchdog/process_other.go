//go:build !linux

package main

import "os/exec"

// reap is for process 1 of a container, which is always Linux.
func reap() {}

// endWithParent is for Linux alone.
func endWithParent(*exec.Cmd) {}
