package watchdog

import (
	"os"
	"syscall"
	"unsafe"
)

// What package syscall has no names for.
const (
	sysPidfdOpen = 434
	byPID        = 1
	noWait       = 0x01000000
)

// awaitExit returns when a child has ended, without keeping a thread for the
// time. It leaves the child to be waited for. On a kernel without pidfds it
// returns at once.
func awaitExit(pid int) {
	fd, _, errno := syscall.Syscall(sysPidfdOpen, uintptr(pid), syscall.O_NONBLOCK, 0)
	if errno != 0 {
		return
	}
	file := os.NewFile(fd, "pidfd")
	defer file.Close()
	if conn, err := file.SyscallConn(); err == nil {
		_ = conn.Read(func(uintptr) bool { return hasExited(pid) })
	}
}

// hasExited reports whether a child has ended, or was waited for already.
func hasExited(pid int) bool {
	var info [128]byte // a siginfo_t, which begins with the signal's number
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, byPID, uintptr(pid), uintptr(unsafe.Pointer(&info)),
			syscall.WEXITED|syscall.WNOHANG|noWait, 0, 0)
		if errno != syscall.EINTR {
			return errno != 0 || info[0]|info[1]|info[2]|info[3] != 0
		}
	}
}
