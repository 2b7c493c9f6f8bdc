package app

import (
	"context"
	"net"
	"net/netip"
	"syscall"
)

// listenAhead listens at an address that no interface may have yet: the bridge of
// the containers can come with the first of them, and go with the last.
func listenAhead(address netip.AddrPort) (*net.TCPListener, error) {
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var failure error
		err := conn.Control(func(fd uintptr) {
			failure = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_FREEBIND, 1)
		})
		if err != nil {
			return err
		}
		return failure
	}}
	listener, err := config.Listen(context.Background(), "tcp", address.String())
	if err != nil {
		return nil, err
	}
	return listener.(*net.TCPListener), nil
}
