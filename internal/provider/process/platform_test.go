//go:build linux

package process_test

func platform() int { return 0 }
