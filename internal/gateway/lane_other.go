//go:build !linux

package gateway

import "net"

// loop does not exist here: there is no epoll.
type loop struct{}

func startLoops(*Lane) ([]*loop, error) { return nil, nil }

func (*loop) take(net.Conn) {}
func (*loop) closeIdle()    {}
func (*loop) stop()         {}
