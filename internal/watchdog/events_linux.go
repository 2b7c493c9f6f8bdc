package watchdog

import (
	"errors"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// events is a set of descriptors that one goroutine waits for: an epoll
// instance that the runtime's poller watches in its turn. A goroutine for each
// descriptor would be woken for each, and waking is most of what a short call
// costs. The descriptors stay their owner's.
type events struct {
	fd   int
	file *os.File
	raw  syscall.RawConn
}

// event is a descriptor that is ready, by the key that it was added with.
type event = syscall.EpollEvent

func (e *events) open() error {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return errors.Join(err, syscall.Close(fd))
	}
	e.fd, e.file = fd, os.NewFile(uintptr(fd), "events")
	e.raw, err = e.file.SyscallConn()
	return err
}

func (e *events) close() {
	if e.file != nil {
		_ = e.file.Close()
	}
}

// add has await tell of a descriptor from which can be read, or which is at
// its end, for as long as that is so.
func (e *events) add(fd int, key int32) error {
	err := syscall.EpollCtl(e.fd, syscall.EPOLL_CTL_ADD, fd, &event{Events: syscall.EPOLLIN, Fd: key})
	return os.NewSyscallError("epoll_ctl", err)
}

func (e *events) remove(fd int) { _ = syscall.EpollCtl(e.fd, syscall.EPOLL_CTL_DEL, fd, nil) }

// look returns how much is ready now.
func (e *events) look(ready []event) int { return pollNow(e.fd, ready) }

// await waits until something is ready, or for the deadline.
func (e *events) await(ready []event) (n int, err error) {
	err = e.raw.Read(func(uintptr) bool {
		n = pollNow(e.fd, ready)
		return n > 0
	})
	return n, err
}

// limit is how long await may wait from now on; 0 is no bound.
func (e *events) limit(d time.Duration) {
	deadline := time.Time{}
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	_ = e.file.SetReadDeadline(deadline)
}

// The calls below never wait, so that the runtime need not make provision for
// a thread that does.

func pollNow(fd int, ready []event) int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(unsafe.Pointer(&ready[0])), uintptr(len(ready)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// readNow reads from a descriptor that does not block. It returns 0 at the end,
// and EAGAIN if nothing is there now.
func readNow(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), 0
}

func writeNow(fd int, b []byte) int {
	if len(b) == 0 {
		return 0
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0
	}
	return int(n)
}

// pipe returns a pipe one of whose ends, the process's, blocks.
func pipe(ours int) (p [2]int, err error) {
	if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
		return p, os.NewSyscallError("pipe2", err)
	}
	return p, syscall.SetNonblock(p[ours], true)
}

// What package syscall has no names for.
const (
	byPID     = 1
	noWait    = 0x01000000
	monotonic = 1
)

// hasExited reports whether a child has ended, or was waited for already.
func hasExited(pid int) bool {
	var info [128]byte // a siginfo_t, which begins with the signal's number
	for {
		_, _, errno := syscall.RawSyscall6(syscall.SYS_WAITID, byPID, uintptr(pid), uintptr(unsafe.Pointer(&info)),
			syscall.WEXITED|syscall.WNOHANG|noWait, 0, 0)
		if errno != syscall.EINTR {
			return errno != 0 || info[0]|info[1]|info[2]|info[3] != 0
		}
	}
}

// alarm is a clock of the kernel's, for events. To set one of the runtime's
// wakes a thread that must learn of it.
type alarm struct{ fd int }

func (a *alarm) open() error {
	fd, _, errno := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, monotonic, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if errno != 0 {
		return os.NewSyscallError("timerfd_create", errno)
	}
	a.fd = int(fd)
	return nil
}

func (a *alarm) set(d time.Duration) {
	spec := [2]syscall.Timespec{{}, syscall.NsecToTimespec(int64(d))}
	_, _, _ = syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, uintptr(a.fd), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
}

// seen has it ring no more until it is set again.
func (a *alarm) seen() {
	var rings [8]byte
	_, _ = readNow(a.fd, rings[:])
}

func (a *alarm) close() { _ = syscall.Close(a.fd) }
