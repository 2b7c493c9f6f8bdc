//go:build !linux

package install

import "errors"

func checkMachine() error {
	return errors.New("this is for Linux with systemd: here, lofn serve runs the platform; give --root to install into a folder")
}

func lock(string) (func(), error) { return func() {}, nil }

func isLocked(string) bool { return false }

func checkWritable(string) error { return nil }

func checkSpace(string, uint64, string) error { return nil }
