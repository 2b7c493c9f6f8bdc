//go:build !linux

package app

import (
	"net"
	"net/netip"
)

// listenAhead is for containers, which there are on Linux only.
func listenAhead(address netip.AddrPort) (*net.TCPListener, error) {
	return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(address))
}
