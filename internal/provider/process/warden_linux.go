package process

import (
	"encoding/binary"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// EnvWarden tells a process by which descriptor it reaches its Warden.
const EnvWarden = "LOFN_WARDEN"

// Warden is what a process that Isolate started knows of the one that watches
// over it.
type Warden struct{ file *os.File }

// FindWarden returns the warden of this process, nil if there is none. It is
// called once.
func FindWarden() *Warden {
	fd, err := strconv.Atoi(os.Getenv(EnvWarden))
	if err != nil {
		return nil
	}
	_ = os.Unsetenv(EnvWarden)
	unix.CloseOnExec(fd)
	// The number may be another file's in this process, with an end of its own.
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil || unix.SetNonblock(own, true) != nil {
		return nil
	}
	return &Warden{os.NewFile(uintptr(own), "warden")}
}

// File is to be inherited by a process that takes this one's place, with
// EnvWarden set.
func (w *Warden) File() *os.File { return w.file }

// Follow has the warden watch over another process in place of this one, whose
// child it is.
func (w *Warden) Follow(pid int) error {
	_, err := w.file.Write(binary.NativeEndian.AppendUint32(nil, uint32(pid)))
	return err
}

// Await returns when the warden is gone, with which its process must end.
func (w *Warden) Await() { _, _ = w.file.Read(make([]byte, 1)) }

// watch is the warden's own side.
type watch struct {
	from *os.File

	mu  sync.Mutex
	pid int // of the process that is watched over
}

// newWatch returns a watch, and the file that what is watched over inherits.
// From now on the orphans among this process's descendants are its children.
func newWatch() (w *watch, theirs *os.File, err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, nil, err
	}
	// Packets, so that one that is read is whole.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return &watch{from: os.NewFile(uintptr(pair[0]), "watch")}, os.NewFile(uintptr(pair[1]), "warden"), nil
}

// followed returns the process that is watched over now.
func (w *watch) followed() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	var packet [4]byte
	for {
		n, _, err := unix.Recvfrom(int(w.from.Fd()), packet[:], unix.MSG_DONTWAIT)
		if err != nil || n != len(packet) {
			return w.pid
		}
		w.pid = int(binary.NativeEndian.Uint32(packet[:]))
	}
}

func (w *watch) signal(s syscall.Signal) { _ = syscall.Kill(w.followed(), s) }

// wait returns what a shell would make of the end of the process that is
// watched over. Others that end are reaped.
func (w *watch) wait() (status int, err error) {
	for {
		var how syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &how, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err == syscall.ECHILD:
			return status, nil
		case err != nil:
			return 0, err
		default:
			status = exitStatus(how)
			if pid == w.followed() {
				return status, nil
			}
		}
	}
}

func exitStatus(how syscall.WaitStatus) int {
	if how.Signaled() {
		return 128 + int(how.Signal())
	}
	return how.ExitStatus()
}
