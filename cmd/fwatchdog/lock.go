package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// lockPath is the file by whose presence health checks that cannot call HTTP
// see that the function takes calls.
func lockPath() string { return filepath.Join(os.TempDir(), ".lock") }

func lockPresent() bool {
	_, err := os.Stat(lockPath())
	return err == nil
}

func writeLock() error {
	err := os.MkdirAll(os.TempDir(), 0o777)
	if err == nil {
		err = os.WriteFile(lockPath(), nil, 0o660)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w; without health checks by file, set suppress_lock=true", lockPath(), err)
	}
	return nil
}
