package gateway

import (
	"net/netip"
	"os"
	"syscall"
	"time"
)

// door is a loop's share in the listener. All loops wait at it, and the kernel
// wakes one for a connection.
type door struct {
	loop *loop
	file *os.File // the listener's descriptor, duplicated
	fd   int32    // its number, -1 when closed
	// pause ends a rest after the machine ran out of something.
	pause timer
}

const (
	// exclusive is EPOLLEXCLUSIVE, which package syscall does not have.
	exclusive = 1 << 28
	// restTime is how long nothing is accepted after the machine ran out of
	// descriptors or memory.
	restTime = 5 * time.Millisecond

	// The kernel asks a silent client whether it is there after so many
	// seconds, and so many times; package net has the same by default.
	keepAliveSeconds = 15
	keepAliveProbes  = 9
)

// open has the loop accept connections.
func (l *loop) open(listener interface{ File() (*os.File, error) }) error {
	file, err := listener.File()
	if err != nil {
		return err
	}
	l.door = door{loop: l, file: file, fd: int32(file.Fd())}
	l.door.pause.fire = func() { _ = l.door.watch() }
	// Fd made it blocking; the flag is the listener's too.
	if err := syscall.SetNonblock(int(l.door.fd), true); err != nil {
		return err
	}
	return l.door.watch()
}

func (d *door) watch() error {
	if d.fd < 0 {
		return nil
	}
	return d.loop.poller.add(d.fd, 0, syscall.EPOLLIN|exclusive)
}

func (d *door) close() {
	if d.fd >= 0 {
		d.loop.poller.remove(d.fd)
		d.fd = -1
		d.file.Close()
	}
}

// accept takes one connection: the next one may be another loop's.
func (l *loop) accept() {
	fd, from, err := syscall.Accept4(int(l.door.fd), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
	switch err {
	case nil:
		tune(fd)
		l.assign(int32(fd), addressOf(from))
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
		l.poller.remove(l.door.fd)
		l.timers.set(&l.door.pause, time.Now().Add(restTime))
	}
}

// tune sets what package net sets on connections by default.
func tune(fd int) {
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, keepAliveSeconds)
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, keepAliveSeconds)
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, keepAliveProbes)
}

// addressOf is a client's address and port.
func addressOf(from syscall.Sockaddr) string {
	switch a := from.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)).String()
	default:
		return ""
	}
}

// assign gives a connection to the loop with the fewest, this one if it can.
func (l *loop) assign(fd int32, remote string) {
	least := l
	for _, other := range l.peers {
		if other.load.Load()+1 < least.load.Load() {
			least = other
		}
	}
	if least == l {
		l.serve(fd, remote)
	} else if !least.post(func() { least.serve(fd, remote) }) {
		_ = syscall.Close(int(fd))
	}
}
