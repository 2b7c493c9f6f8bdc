package containerd

import (
	"context"
	"errors"
	"fmt"
	"lofn/internal/provider/fleet"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is the first process of a container. It is signalled and waited for
// through the kernel alone, so that a containerd which does not answer is in the
// way of neither. When it ends, the kernel ends all others of the container.
type process struct {
	pid  int
	file *os.File
}

// openProcess returns the process with that number, which must be known to
// exist.
func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return &process{pid, os.NewFile(uintptr(fd), "process")}, nil
}

// wait returns true when the process has ended, false if ctx did before.
func (p *process) wait(ctx context.Context) bool {
	defer context.AfterFunc(ctx, func() { _ = p.file.SetReadDeadline(time.Now()) })()
	conn, err := p.file.SyscallConn()
	if err != nil {
		return false
	}
	err = conn.Read(ended)
	return err == nil
}

// ended reports whether a process has ended: then it can be read.
func ended(fd uintptr) bool {
	events := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(events, 0)
		if !errors.Is(err, syscall.EINTR) {
			return n > 0
		}
	}
}

// ended reports whether the process has ended, as far as can be told.
func (p *process) ended() (yes bool) {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return false
	}
	_ = conn.Control(func(fd uintptr) { yes = ended(fd) })
	return yes
}

// signal sends a signal, unless the process has ended.
func (p *process) signal(s unix.Signal) {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), s, nil, 0) })
}

func (p *process) close() { _ = p.file.Close() }

// catches reports whether the process does something about a signal, as far as
// can be told.
func (p *process) catches(s unix.Signal) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(status)) {
		if mask, ok := strings.CutPrefix(line, "SigCgt:"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err != nil || n&(1<<(s-1)) != 0
		}
	}
	return true
}

// sockets returns what listens in the process's network.
func (p *process) sockets() []fleet.Socket {
	return fleet.Listening(fmt.Sprintf("/proc/%d/net", p.pid))
}

// listening returns the TCP ports, with addresses, on which something in the
// process's network listens, as far as can be told.
func (p *process) listening() (ports []string) {
	for _, socket := range p.sockets() {
		ports = append(ports, endpointOf(socket))
	}
	return ports
}

// listensOn reports whether something in the process's network listens on a TCP
// port, at any address.
func (p *process) listensOn(port uint16) bool {
	return slices.ContainsFunc(p.sockets(), func(s fleet.Socket) bool { return s.Port == port })
}

// endpointOf says where a socket listens.
func endpointOf(s fleet.Socket) string {
	switch {
	case strings.Trim(s.Address, "0") == "":
		return fmt.Sprintf("port %d", s.Port)
	case s.Address == "0100007F" || strings.HasSuffix(s.Address, "01000000") && len(s.Address) == 32:
		return fmt.Sprintf("port %d of localhost only", s.Port)
	}
	return fmt.Sprintf("port %d of one address only", s.Port)
}
