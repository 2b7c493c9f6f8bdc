package main

import (
	"syscall"
	"time"
)

// nap is shorter than the runtime's timers can be, which are late by up to a
// millisecond where nothing else happens.
func nap(d time.Duration) {
	pause := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&pause, nil)
}
