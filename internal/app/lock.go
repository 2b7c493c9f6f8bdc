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

// unlockFile gives the lock back at once, also where a process that is being
// started has not yet closed its copy of the file.
func unlockFile(f *os.File) { _ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
