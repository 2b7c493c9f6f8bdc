//go:build !linux

package watchdog

import (
	"os/exec"
	"syscall"
	"time"

	"lofn"
)

// errNotHere is why there is no process for a call outside of Linux, where
// nobody runs functions either.
var errNotHere = lofn.Errorf(lofn.Unimplemented, "mode: a process for each call needs Linux: use http or static")

type event struct{ Fd int32 }

type events struct{}

func (events) open() error                { return errNotHere }
func (events) close()                     {}
func (events) add(int, int32) error       { return errNotHere }
func (events) remove(int)                 {}
func (events) look([]event) int           { return 0 }
func (events) await([]event) (int, error) { return 0, errNotHere }
func (events) limit(time.Duration)        {}

type alarm struct{ fd int }

func (alarm) open() error       { return errNotHere }
func (alarm) set(time.Duration) {}
func (alarm) seen()             {}
func (alarm) close()            {}

type exit struct{ fd int }

func (exit) follow(*exec.Cmd) error            { return errNotHere }
func (exit) wait(cmd *exec.Cmd) error          { return cmd.Wait() }
func (exit) close()                            {}
func hasExited(int) bool                       { return false }
func pipe(int) (p [2]int, err error)           { return p, errNotHere }
func readNow(int, []byte) (int, syscall.Errno) { return 0, syscall.EIO }
func writeNow(int, []byte) int                 { return 0 }
