package app

import (
	"os"
	"syscall"
)

// lockFile takes the file for this process alone, or fails at once. The lock
// goes with the process.
func lockFile(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
